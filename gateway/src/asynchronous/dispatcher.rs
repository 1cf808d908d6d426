//! What makes the calls: for each function a task that takes its calls from the queue, as many at once as
//! one function works on, and another that takes its callbacks.
//!
//! Invariant: an item is taken from the queue for good once all that follows from it stands there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};
use turlough_statestore::{StateError, Taken};
use uuid::Uuid;

use super::callback::{Callback, Caller};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::invocation::Invoker;
use super::item::{Answer, Head, Item, Kept, Work, qualified};
use super::retry::RetryConfig;
use super::room::{Place, Room};
use super::store::{BodyError, Store};
use super::tracker::{Known, Standing, Tracker, Turn};
use super::wall_ms;
use crate::config::AsyncConfig;
use crate::functions::Registry;
use crate::metrics::AsyncMetrics;
use crate::proxy::{INTERNAL, has_taken_callback};

/// Sixteen functions that all hang leave the rest their turn, and 2 GiB is the most that their answers can
/// hold before callbacks are waited for.
const CALLING_MAX: usize = 256;
/// Callbacks on their way, for each call that a function may work on: a receiver that is down for a while
/// does not hold up the function.
const CALLBACKS_PER_CALL: usize = 4;
/// Calls of what is no function here go by one queue.
const UNKNOWN: &str = "unknown";
/// Before an item is looked at again that another task has.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Before a call is made again for which no replica had room, or which found none; and for how long it waits
/// for one.
const BUSY: Duration = Duration::from_secs(1);
const BUSY_MAX: Duration = Duration::from_secs(3_600);
/// Before a queue is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(super) store: Arc<Store>,
    pub(super) room: Room,
    pub(super) dead_letters: DeadLetters,
    tracker: Mutex<Tracker>,
    registry: Registry,
    invoker: Invoker,
    caller: Caller,
    retry: RetryConfig,
    /// Calls that one function works on at once.
    at_once: usize,
    /// What answers may hold that wait to be told, in bytes; past it no call is begun.
    answers_bytes_max: usize,
    told: Notify,
    calling: Arc<Semaphore>,
    lanes: Mutex<HashSet<Box<str>>>,
    /// Calls are made once the functions of before are there.
    begun: CancellationToken,
    tasks: TaskTracker,
    /// Nothing is accepted any more.
    stopping: CancellationToken,
    /// Nothing is begun any more.
    resting: CancellationToken,
    /// Tasks end where they are.
    ended: CancellationToken,
    metrics: AsyncMetrics,
}

/// What a task takes from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Calls,
    Callbacks,
}

impl Kind {
    fn queue(self, lane: &str) -> String {
        match self {
            Self::Calls => format!("calls.{lane}"),
            Self::Callbacks => format!("callbacks.{lane}"),
        }
    }
}

impl Dispatcher {
    /// Opens what was left by a process before, and goes on with it.
    pub(super) async fn open(
        config: &AsyncConfig,
        registry: Registry,
        invoker: Invoker,
        caller: Caller,
        metrics: AsyncMetrics,
    ) -> Result<Arc<Self>, StateError> {
        let store = Arc::new(Store::open(&config.state).await?);
        let dispatcher = Arc::new(Self {
            room: Room::new(config.calls_max, config.bytes_max),
            dead_letters: DeadLetters::open(Arc::clone(&store)).await?,
            store,
            tracker: Mutex::default(),
            registry,
            invoker,
            caller,
            retry: config.retry.clone(),
            at_once: config.in_flight_per_function_max.max(1),
            answers_bytes_max: config.bytes_max.max(1),
            told: Notify::new(),
            calling: Arc::new(Semaphore::new(CALLING_MAX)),
            lanes: Mutex::default(),
            begun: CancellationToken::new(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            resting: CancellationToken::new(),
            ended: CancellationToken::new(),
            metrics,
        });
        dispatcher.remember().await?;
        Ok(dispatcher)
    }

    /// Looks at what a process before left.
    async fn remember(self: &Arc<Self>) -> Result<(), StateError> {
        let lanes = self.store.lanes().await?;
        for lane in &lanes {
            for kind in [Kind::Calls, Kind::Callbacks] {
                let meet = |item| match item {
                    Ok(item) => self.meets_again(&item),
                    Err(error) => error!(%error, "an asynchronous call of before cannot be read"),
                };
                self.store.look(&kind.queue(lane), meet).await?;
            }
        }
        for id in self.store.cancelled().await? {
            if !self.tracker().was_cancelled(id, wall_ms()) {
                self.store.forget_cancelled(id).await;
            }
        }
        for lane in lanes {
            self.serve(lane.into());
        }
        self.show();
        Ok(())
    }

    fn meets_again(&self, item: &Item) {
        let place = self.room.place_of_one_before(item.bytes());
        self.tracker().meet(item, place);
    }

    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) {
        let waiting = self.tracker().waiting();
        self.metrics
            .queued
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Brings up to date what changes with time alone.
    pub(super) fn read_metrics(&self) {
        let oldest = self.tracker().oldest_ms();
        let waited = oldest.map_or(0, |at| wall_ms().saturating_sub(at));
        self.metrics.oldest.set(waited as f64 / 1e3);
    }

    /// Queues a call; afterwards it may be answered 202. Where it fails, nothing is queued.
    pub(super) async fn accept(
        self: &Arc<Self>,
        head: Head,
        call_id: String,
        function: String,
        body: Bytes,
        place: Place,
    ) -> Result<(), AcceptError> {
        if self.stopping.is_cancelled() {
            return Err(AcceptError::Stopping);
        }
        let lane = self.lane(&function).await?;
        let item = Item {
            id: Uuid::new_v4(),
            call_id,
            function,
            accepted_ms: wall_ms(),
            attempts: 0,
            due_ms: 0,
            work: Work::Call(head),
            body: self.store.keep(&body).await?,
        };
        self.tracker().meet(&item, Some(place));
        self.show();
        if let Err(error) = self.store.put(&Kind::Calls.queue(&lane), &item).await {
            let status = None;
            self.over(item.id, Standing::Cancelled, status);
            self.store.forget(&item.body).await;
            return Err(error.into());
        }
        Ok(())
    }

    /// The queue of a function, which is served from now on.
    async fn lane(self: &Arc<Self>, function: &str) -> Result<Box<str>, StateError> {
        let lane: Box<str> = match self.registry.find(function) {
            Some(function) => function.name().qualified().into(),
            None => UNKNOWN.into(),
        };
        let is_served = self.lanes().contains(&lane);
        if !is_served {
            self.store.knows(&lane).await?;
            self.serve(lane.clone());
        }
        Ok(lane)
    }

    fn lanes(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, lane: Box<str>) {
        if !self.lanes().insert(lane.clone()) {
            return;
        }
        for (kind, at_once) in [
            (Kind::Calls, self.at_once),
            (Kind::Callbacks, self.at_once * CALLBACKS_PER_CALL),
        ] {
            let dispatcher = Arc::clone(self);
            let lane = Arc::from(&*lane);
            // Not among the tasks: it ends with them, and nobody waits for it.
            tokio::spawn(async move {
                tokio::select! {
                    () = dispatcher.take_all(&lane, kind, at_once) => {}
                    () = dispatcher.resting.cancelled() => {}
                }
            });
        }
    }

    /// From now on calls are made.
    pub(super) fn begin_calls(&self) {
        self.begun.cancel();
    }

    async fn take_all(self: &Arc<Self>, lane: &Arc<str>, kind: Kind, at_once: usize) {
        self.begun.cancelled().await;
        let (queue, room) = (kind.queue(lane), Arc::new(Semaphore::new(at_once)));
        loop {
            // An error means a closed semaphore, and nobody closes it.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match self.store.take(&queue).await {
                Ok(Some(taken)) => self.begin(taken, Arc::clone(lane), permit),
                Ok(None) => {}
                Err(error) => {
                    warn!(%error, queue, "no asynchronous calls can be taken; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, taken: Taken, lane: Arc<str>, permit: OwnedSemaphorePermit) {
        let dispatcher = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = dispatcher.work_on(&taken, &lane) => {}
                () = dispatcher.ended.cancelled() => {}
            }
            drop(permit);
        });
    }

    async fn work_on(&self, taken: &Taken, lane: &str) {
        let item = match Item::read(&taken.payload) {
            Ok(item) => item,
            Err(error) => {
                error!(%error, lane, "an asynchronous call cannot be read, and is left out");
                return self.store.done(taken).await;
            }
        };
        let early = item.due_ms.saturating_sub(wall_ms());
        if early > 0 {
            return self
                .store
                .put_off(taken, Duration::from_millis(early))
                .await;
        }
        match &item.work {
            Work::Call(head) => {
                // An error means a closed semaphore, and nobody closes it.
                let room = self.store.holding(taken, self.calling.acquire()).await;
                self.call(taken, &item, head, lane).await;
                drop(room);
            }
            Work::CallBack(answer) => self.call_back(taken, &item, answer).await,
        }
        self.show();
    }

    async fn call(&self, taken: &Taken, item: &Item, head: &Head, lane: &str) {
        self.store.holding(taken, self.answers_have_room()).await;
        let turn = self.tracker().begin(item, wall_ms());
        self.show();
        let cancelled = match turn {
            Turn::Begun(cancelled) => cancelled,
            Turn::Elsewhere => return self.store.put_off(taken, ELSEWHERE).await,
            Turn::Over(Standing::Cancelled) => return self.leave_out(taken, item).await,
            Turn::Over(_) => return self.store.done(taken).await,
        };
        let answer = self.store.holding(taken, self.answer(item, head));
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => return self.leave_out(taken, item).await,
            answer = answer => answer,
        };
        match answer {
            Ok((answer, body)) => self.answered(taken, item, head, (answer, body), lane).await,
            Err(error) => {
                error!(%error, function = item.function, call_id = item.call_id, "the body of an asynchronous call is lost; it is given up");
                self.over(item.id, Standing::Dead, None);
                self.store.done(taken).await;
            }
        }
    }

    async fn answer(&self, item: &Item, head: &Head) -> Result<(Parts, Bytes), BodyError> {
        let body = loop {
            match self.store.body(&item.body).await {
                Err(BodyError::State(error)) => {
                    warn!(%error, "the body of an asynchronous call cannot be read yet");
                    tokio::time::sleep(AGAIN).await;
                }
                other => break other?,
            }
        };
        let request = head.request(item.delivery_id(), body)?;
        let is_told = head.callback.is_some();
        let peer = head.peer();
        let answered = self.invoker.invoke(request, &peer, &item.function, is_told);
        Ok(answered.await)
    }

    /// A function has answered: it is called again, its caller is told, or it is over.
    async fn answered(
        &self,
        taken: &Taken,
        item: &Item,
        head: &Head,
        (answer, body): (Parts, Bytes),
        lane: &str,
    ) {
        let (retry, attempts) = (self.retry_of(item, head), item.attempts + 1);
        let (status, now_ms) = (answer.status.as_u16(), wall_ms());
        let is_passing = retry.is_passing(status) && !is_of_a_request(&answer);
        let waited = Duration::from_millis(now_ms.saturating_sub(item.accepted_ms));
        let again = if is_busy(&answer) && !head.tries_itself() && waited < BUSY_MAX {
            // Nobody was called: that is no attempt.
            Some((item.attempts, BUSY.min(retry.min_wait)))
        } else if is_passing && attempts < retry.attempts {
            self.metrics.retries.inc();
            Some((attempts, retry.wait(attempts, &answer.headers, jitter())))
        } else {
            None
        };
        if let Some((attempts, wait)) = again {
            let due_ms = now_ms + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let again = Item {
                attempts,
                due_ms,
                ..item.clone()
            };
            self.tracker().retries(&again, status, now_ms);
            self.put(&Kind::Calls.queue(lane), &again).await;
            return self.store.done(taken).await;
        }
        // Whoever tries again by itself has its own account of what was given up.
        let is_dead = is_passing && !head.tries_itself();
        if is_dead {
            self.metrics.dead.inc();
            let letter = DeadLetter {
                item: item.clone(),
                lane: lane.to_owned(),
                attempts,
                status,
                died_ms: now_ms,
            };
            self.dead_letters.add(letter).await;
        }
        let is_left = has_taken_callback(&answer.headers) && answer.status.is_success();
        if let Some(url) = head.callback.as_ref().filter(|_| !is_left) {
            let kept = self.kept(&body).await;
            let tells = Item {
                attempts,
                due_ms: 0,
                work: Work::CallBack(Answer::new(url.clone(), &answer, is_dead)),
                body: kept,
                ..item.clone()
            };
            self.tracker()
                .calls_back(item.id, status, body.len(), now_ms);
            self.put(&Kind::Callbacks.queue(lane), &tells).await;
        } else {
            self.over(item.id, Answer::standing(is_dead), Some(status));
        }
        self.store.done(taken).await;
        if !is_dead {
            self.store.forget(&item.body).await;
        }
    }

    async fn put(&self, queue: &str, item: &Item) {
        self.store.until_done(|| self.store.put(queue, item)).await;
    }

    async fn kept(&self, body: &Bytes) -> Kept {
        loop {
            match self.store.keep(body).await {
                Ok(kept) => return kept,
                Err(error) => warn!(%error, "an answer cannot be kept yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn call_back(&self, taken: &Taken, item: &Item, answer: &Answer) {
        self.tracker().meet(item, None);
        let standing = self.tracker().standing(item.id);
        if standing.is_some_and(|standing| !standing.is_open()) {
            return self.store.done(taken).await;
        }
        match self.store.body(&item.body).await {
            Ok(body) => match Callback::new(item, answer, body, self.caller.allows_link_local()) {
                Ok(callback) => {
                    let delivered = self.caller.deliver(callback);
                    self.store.holding(taken, delivered).await;
                }
                Err(error) => error!(%error, call_id = item.call_id, "nobody can be called back"),
            },
            Err(BodyError::State(error)) => {
                warn!(%error, "an answer cannot be read yet");
                return self.store.put_off(taken, AGAIN).await;
            }
            Err(error) => error!(%error, call_id = item.call_id, "an answer is lost"),
        }
        self.over(item.id, Answer::standing(answer.is_dead), None);
        self.store.done(taken).await;
        self.store.forget(&item.body).await;
    }

    fn over(&self, id: Uuid, how: Standing, status: Option<u16>) {
        self.tracker().is_over(id, how, status, wall_ms());
        self.show();
        self.told.notify_waiters();
    }

    async fn leave_out(&self, taken: &Taken, item: &Item) {
        self.store.done(taken).await;
        self.store.forget(&item.body).await;
        self.store.forget_cancelled(item.id).await;
    }

    /// Waits until answers that nobody was told of yet hold less than they may.
    async fn answers_have_room(&self) {
        loop {
            let told = self.told.notified();
            if self.tracker().answer_bytes() < self.answers_bytes_max {
                return;
            }
            told.await;
        }
    }

    /// How a call is made again: as the function says, or not where the caller does it.
    fn retry_of(&self, item: &Item, head: &Head) -> RetryConfig {
        let found = self.registry.find(&item.function);
        let mut retry = match &found {
            Some(function) => self.retry.with(&function.deployed().retry),
            None => self.retry.clone(),
        };
        if head.tries_itself() {
            retry.attempts = 1;
        }
        retry
    }

    /// Cancels the calls of an id; how many there were that could be.
    pub(super) async fn cancel(&self, function: &str, call_id: &str) -> Result<usize, StateError> {
        let cancelled = self
            .tracker()
            .cancel(&qualified(function), call_id, wall_ms());
        self.show();
        for id in &cancelled {
            self.metrics.cancelled.inc();
            self.store.cancel(*id).await?;
        }
        Ok(cancelled.len())
    }

    /// What is known of the calls of an id, the first first.
    pub(super) fn find(&self, function: &str, call_id: &str) -> Vec<Known> {
        self.tracker().find(&qualified(function), call_id)
    }

    /// Makes a call anew that was given up; false where there is no such.
    pub(crate) async fn revive(self: &Arc<Self>, id: Uuid) -> Result<bool, StateError> {
        let Some(letter) = self.dead_letters.find(id).await? else {
            return Ok(false);
        };
        let lane = self.lane(&letter.item.function).await?;
        let anew = Item {
            id: Uuid::new_v4(),
            attempts: 0,
            due_ms: 0,
            ..letter.item
        };
        self.meets_again(&anew);
        self.show();
        self.store.put(&Kind::Calls.queue(&lane), &anew).await?;
        self.dead_letters.remove(id).await?;
        Ok(true)
    }

    /// Dispatcher until `shutdown`; then accepts no more. What outlives this process is left to the next one, but
    /// for what is under way, which has the grace time to end; what does not is made, or dropped.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken, grace: Duration) {
        shutdown.cancelled().await;
        self.stopping.cancel();
        let outlives = self.store.outlives();
        if outlives {
            self.resting.cancel();
        }
        self.tasks.close();
        let done = async {
            if !outlives {
                self.all_are_over().await;
            }
            self.tasks.wait().await;
        };
        if tokio::time::timeout(grace, done).await.is_err() {
            let (waiting, open) = {
                let tracker = self.tracker();
                (tracker.waiting(), tracker.open())
            };
            let in_flight = open - waiting;
            match outlives {
                true => warn!(
                    in_flight,
                    ?grace,
                    "leaving asynchronous calls to the next start"
                ),
                false => warn!(
                    dropped = open,
                    waiting,
                    in_flight,
                    ?grace,
                    "dropping asynchronous calls"
                ),
            }
        }
        self.resting.cancel();
        self.ended.cancel();
        self.tasks.wait().await;
    }

    async fn all_are_over(&self) {
        loop {
            let told = self.told.notified();
            if self.tracker().open() == 0 {
                return;
            }
            told.await;
        }
    }
}

/// Why a call is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcceptError {
    #[error("the gateway is stopping")]
    Stopping,
    #[error("the call cannot be queued: {0}")]
    State(#[from] StateError),
}

/// Whether a flow-function tells how a request ended that it took on: called again, it tells the same. One
/// that is shut down meanwhile does not know the end.
fn is_of_a_request(answer: &Parts) -> bool {
    answer.headers.contains_key("x-turlough-request-id")
        && answer.status != StatusCode::SERVICE_UNAVAILABLE
}

/// Whether the gateway found no replica that takes the call.
fn is_busy(answer: &Parts) -> bool {
    let statuses = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    statuses.contains(&answer.status) && answer.headers.contains_key(&INTERNAL)
}

fn jitter() -> f64 {
    let (random, ..) = Uuid::new_v4().to_fields_le();
    f64::from(random) / f64::from(u32::MAX)
}
