//! What a replica says of itself and hears from others, where several share the state: its heartbeat,
//! words on the bus, hints in the queue, and the ends of requests that others drive.
//!
//! Invariant: the heartbeat is written before the first claim.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::{debug, warn};
use turlough_keeper::KeeperError;
use turlough_sdk::{ReplicaId, RequestId};
use turlough_statestore::{
    AppendId, Beat, Channel, Hint, Link, Listener, Seq, StateError, Taken, Why, Word,
};

use super::is_open;
use crate::clock::now_us;
use crate::fault::{Fault, planted};
use crate::machine::Holder;
use crate::shared::Shared;

/// How long a replica waits for hints before it asks again.
const HINT_WAIT: Duration = Duration::from_secs(5);
/// Hints that are taken at once: each is a few messages of work.
const HINTS_MAX: usize = 16;
/// How long to wait after the state did not answer.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the log of a request is read whose end somebody waits for: words may be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why a replica cannot take part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttendError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl Shared {
    /// Says that this replica is there, and hears what the others say. From its return on it may claim.
    ///
    /// # Errors
    /// A state that is away; a keeper of this process that does not begin.
    pub(crate) async fn attend(self: &Arc<Self>) -> Result<(), AttendError> {
        let attended = self.attending.get_or_try_init(|| async {
            let channel = Channel::Replica(self.replica);
            let listener = self.state.bus.listen(channel).await?;
            if !planted(Fault::ClaimsUnheard) {
                self.beat(true).await?;
            }
            self.learn_flows().await?;
            self.obstacle.is_over();
            self.keeper().await?;
            self.spawn_until_closing(Arc::clone(self).beat_on());
            self.spawn_until_closing(Arc::clone(self).hear(listener));
            self.spawn_until_closing(Arc::clone(self).take_hints());
            self.spawn_until_closing(Arc::clone(self).keep_leases());
            if !planted(Fault::DataLeft) {
                self.spawn_until_closing(Arc::clone(self).drop_what_was_left());
            }
            Ok(())
        });
        let attended = attended.await.map(drop);
        if let Err(AttendError::State(error)) = &attended {
            self.obstacle.note(error);
        }
        attended
    }

    /// The same, as soon as it can be.
    pub(crate) async fn attend_soon(self: Arc<Self>) {
        while let Err(error) = self.attend().await {
            warn!(%error, "this replica cannot take requests yet");
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    /// Why this replica takes no requests now, where it does not.
    pub(crate) fn absence(&self) -> Option<String> {
        if !self.state.link.borrow().is_up {
            let url = &self.settings.state.url;
            return Some(format!(
                "the connection to the state at {url} is lost; it comes back by itself once a server answers there"
            ));
        }
        let is_known = self.attending.initialized();
        let unknown = || "it is not known to others yet".to_owned();
        self.obstacle.text().or_else(|| (!is_known).then(unknown))
    }

    fn spawn_until_closing(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                () = closing.cancelled() => {}
            }
        });
    }

    async fn beat(&self, takes: bool) -> Result<(), StateError> {
        let beat = Beat {
            function: self.settings.function.clone(),
            at_us: now_us(),
            takes,
        };
        let key = self.replica.to_string();
        self.state.replicas.put(&key, beat.encode()).await?;
        self.steady.answered();
        Ok(())
    }

    /// Writes heartbeats; at once where there is a new connection, since others may have missed some.
    async fn beat_on(self: Arc<Self>) {
        let mut link = self.state.link.clone();
        let mut era = link.borrow().era;
        loop {
            let is_new = |link: &Link| link.is_up && link.era != era && !planted(Fault::BeatLate);
            tokio::select! {
                () = tokio::time::sleep(self.settings.state.heartbeat / 4) => {}
                Ok(_) = link.wait_for(is_new) => {}
            }
            era = link.borrow().era;
            let takes = !self.draining.is_cancelled();
            match self.beat(takes).await {
                Ok(()) => self.look_whether_it_is_over().await,
                Err(error) => {
                    warn!(%error, "heartbeat was not written");
                    self.obstacle.note(&error);
                }
            }
            if let Err(error) = self.learn_changes().await {
                debug!(%error, "flows that were put were not looked up");
            }
        }
    }

    /// A heartbeat is written; whether logs are is another matter.
    async fn look_whether_it_is_over(&self) {
        if self.obstacle.text().is_some() {
            match self.state.may_append().await {
                Ok(()) => self.obstacle.is_over(),
                Err(error) => self.obstacle.note(&error),
            }
        }
    }

    /// Notes what the state does not permit. What passes by itself, whoever waits for it sees.
    pub(crate) fn note(&self, error: &StateError) {
        if matches!(error, StateError::Refused { .. }) {
            self.obstacle.note(error);
        }
    }

    /// Other replicas of this function that are there, and whether they take work.
    pub(crate) async fn others(&self) -> Result<Vec<(ReplicaId, Beat)>, StateError> {
        let listed = self.state.replicas.list("").await?.into_iter();
        let read = |(key, beat): (String, Bytes)| {
            Some((key.parse::<ReplicaId>().ok()?, Beat::decode(&beat)?))
        };
        let function = &self.settings.function;
        let is_other =
            |(id, beat): &(ReplicaId, Beat)| *id != self.replica && beat.function == *function;
        Ok(listed.filter_map(read).filter(is_other).collect())
    }

    /// No heartbeat any more: others may take over at once what is left.
    pub(crate) async fn leave_the_table(&self) {
        if self.state.is_shared {
            drop(self.state.replicas.remove(&self.replica.to_string()).await);
        }
    }

    async fn hear(self: Arc<Self>, mut listener: Listener) {
        while let Some(word) = listener.next().await {
            match Word::decode(&word) {
                Some(Word::Poke { request }) => self.wake(request),
                Some(Word::Urge { request }) => {
                    self.wake_for(request, Why::Due, None);
                    self.desk.urge(request);
                }
                Some(Word::Ask {
                    question,
                    asker,
                    requests,
                }) => {
                    let answer = Word::Answer {
                        question,
                        replica: self.replica,
                        driven: self.desk.of_these(&requests),
                    };
                    self.say(Channel::Replica(asker), &answer).await;
                }
                Some(Word::Put { flow }) => {
                    if let Err(error) = self.learn_flow(&flow).await {
                        debug!(%error, %flow, "flow that was put was not looked up");
                    }
                }
                Some(Word::Answer { .. } | Word::Ended { .. }) | None => {
                    debug!("word on the bus that is not for a replica");
                }
            }
        }
    }

    async fn say(&self, to: Channel, word: &Word) {
        if let Err(error) = self.state.bus.send(to, word.encode()).await {
            debug!(%error, "word was not sent");
        }
    }

    /// Tells another replica that somebody appended to a request that it holds.
    pub(crate) async fn poke_other(&self, replica: ReplicaId, request: RequestId) {
        self.say(Channel::Replica(replica), &Word::Poke { request })
            .await;
    }

    /// Tells replicas where somebody may wait for it that a request has ended.
    pub(crate) fn tell_others(self: &Arc<Self>, request: RequestId) {
        if self.state.is_shared {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let word = Word::Ended { request };
                shared.say(Channel::Done(request), &word).await;
            });
        }
    }

    /// Takes hints for as long as there is room.
    async fn take_hints(self: Arc<Self>) {
        let queue = self.settings.function.to_string();
        let taking = Arc::new(Semaphore::new(HINTS_MAX));
        while !self.draining.is_cancelled() {
            self.room.some().await;
            self.others_are_driven().await;
            let Ok(slot) = Arc::clone(&taking).acquire_owned().await else {
                return;
            };
            let max = self.room.free().clamp(1, 1 + taking.available_permits());
            let taken = tokio::select! {
                taken = self.state.queue.take(&queue, max, HINT_WAIT) => taken,
                () = self.draining.cancelled() => return,
            };
            drop(slot);
            match taken {
                Ok(taken) => {
                    for item in taken {
                        self.follow_hint(item).await;
                    }
                }
                Err(error) => {
                    debug!(%error, "hints were not taken");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// A hint is done once its request is at the desk: where this replica dies before it claims, the
    /// keeper tells again.
    async fn follow_hint(self: &Arc<Self>, item: Taken) {
        match Hint::decode(&item.payload) {
            Some(hint) => self.wake_for(hint.request, hint.why, hint.condemned),
            None => warn!("hint that cannot be read; it is dropped"),
        }
        if let Err(error) = self.state.queue.acknowledge(&item).await {
            debug!(%error, "hint was not acknowledged; it comes again");
        }
    }

    /// Whether the holder of a claim is dead: where this is the only replica, where the keeper found
    /// out, or where its heartbeat ended while the state answered us all the time.
    pub(crate) async fn is_dead(
        &self,
        holder: Holder,
        condemned: Option<AppendId>,
    ) -> Result<bool, StateError> {
        // What this replica holds and does not drive, it may claim again.
        let is_own = holder.replica == self.replica && !planted(Fault::OwnClaimHeld);
        if is_own || !self.state.is_shared {
            return Ok(true);
        }
        let is_condemned = condemned == Some(holder.claim) && !planted(Fault::VerdictIgnored);
        if is_condemned || condemned.is_some() && planted(Fault::VerdictForEver) {
            return Ok(true);
        }
        if !self.may_judge() {
            return Ok(false);
        }
        let beat = self.state.replicas.get(&holder.replica.to_string()).await?;
        // Asked again after the answer, which may have been long in coming.
        Ok(beat.is_none() && self.may_judge())
    }

    /// Whether who has no heartbeat is dead, and not merely unheard.
    fn may_judge(&self) -> bool {
        self.steady.is_steady() || planted(Fault::DeadUnseen)
    }

    /// Sees to it that whoever waits here for the end of a request that another drives hears of it.
    pub(crate) fn watch_end(self: &Arc<Self>, request: RequestId) {
        if self.state.is_shared && self.waiting.watch(request) {
            let shared = Arc::clone(self);
            self.spawn_until_closing(async move {
                loop {
                    shared.wait_for_end(request).await;
                    shared.waiting.unwatch(request);
                    // Whoever came to wait just then relied on this.
                    if !shared.waiting.watch(request) {
                        return;
                    }
                }
            });
        }
    }

    async fn wait_for_end(self: &Arc<Self>, request: RequestId) {
        let mut listener = self.state.bus.listen(Channel::Done(request)).await.ok();
        while self.waiting.is_waited_for(request) {
            if let Ok(records) = self.log.read(request, Seq::START).await
                && !is_open(&records)
                && let Some(finished) = self.end_in_log(request, &records).await
            {
                self.waiting.tell(request, &finished);
                return;
            }
            match &mut listener {
                Some(words) => tokio::select! {
                    _ = words.next() => {}
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                },
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}
