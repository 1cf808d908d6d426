//! A state in memory with everything at hand, and requests that are written into it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use turlough_keeper::{Clock, IndexPlace, Keeper, Options, Status, Summary};
use turlough_sdk::{Cause, ReplicaId, RequestId, StepPath, ValueRef};
use turlough_statestore::event::{Accepted, Outcome, Snapshot};
use turlough_statestore::{
    Append, AppendId, Beat, Channel, Envelope, Event, Hint, Kind, Link, Listener, Log as _,
    MemoryLog, Options as StateOptions, Seq, Standing, State, Why, Word,
};
use uuid::Uuid;

pub(crate) const FUNCTION: &str = "flows";
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(800);

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) log: MemoryLog,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) clock: Clock,
    /// A replica of another function, which is always alive.
    pub(crate) alive: ReplicaId,
}

impl World {
    /// State that several processes use.
    pub(crate) fn shared() -> Self {
        Self::of(true)
    }

    /// State of one process.
    pub(crate) fn own() -> Self {
        Self::of(false)
    }

    fn of(is_shared: bool) -> Self {
        let options = StateOptions {
            heartbeat: HEARTBEAT,
            ..StateOptions::new("acme".parse().unwrap(), FUNCTION.parse().unwrap())
        };
        let log = MemoryLog::new(1 << 30);
        let since = Instant::now();
        let link = watch::Sender::new(Link {
            era: 1,
            is_up: true,
            since,
        });
        let state = State {
            log: Arc::new(log.clone()),
            is_shared,
            link: link.subscribe(),
            ..State::in_memory(&options)
        };
        let (alive, beating) = (replica(), state.clone());
        tokio::spawn(async move {
            loop {
                beat(&beating, alive, "others").await;
                tokio::time::sleep(HEARTBEAT / 16).await;
            }
        });
        Self {
            state,
            log,
            link,
            clock: Clock::by_hand(),
            alive,
        }
    }

    /// Short intervals, but for the one of repetition.
    pub(crate) fn options(&self) -> Options {
        Options {
            heartbeat: HEARTBEAT,
            sync_interval: Duration::from_millis(10),
            silent: Duration::from_secs(600),
            grace: Duration::from_millis(100),
            repeat: Duration::from_secs(600),
            clock: self.clock.clone(),
            index: IndexPlace::Memory,
            ..Options::new(replica(), "acme".parse().unwrap())
        }
    }

    pub(crate) async fn keeper(&self) -> Keeper {
        self.keeper_with(self.options()).await
    }

    /// A keeper that is caught up and active.
    pub(crate) async fn keeper_with(&self, options: Options) -> Keeper {
        let keeper = Keeper::start(self.state.clone(), options).await.unwrap();
        let caught_up = tokio::time::timeout(Duration::from_secs(60), keeper.caught_up());
        caught_up.await.expect("it is caught up within a minute");
        until("it is active", async || keeper.is_active().then_some(())).await;
        keeper
    }

    /// A replica that beats until it is dropped.
    pub(crate) async fn replica(&self) -> Replica {
        let id = replica();
        beat(&self.state, id, FUNCTION).await;
        let words = self.state.bus.listen(Channel::Replica(id)).await.unwrap();
        let state = self.state.clone();
        let beats = tokio::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT / 8).await;
                beat(&state, id, FUNCTION).await;
            }
        });
        Replica { id, words, beats }
    }

    /// The next hint.
    pub(crate) async fn hint(&self) -> Hint {
        until("there is a hint", async || self.hint_now().await).await
    }

    pub(crate) async fn hint_now(&self) -> Option<Hint> {
        let taken = self.state.queue.take(FUNCTION, 1, Duration::ZERO).await;
        let item = taken.unwrap().pop()?;
        self.state.queue.acknowledge(&item).await.unwrap();
        Some(Hint::decode(&item.payload).unwrap())
    }

    pub(crate) async fn hint_is(&self, request: &Request, why: Why) -> Hint {
        let hint = self.hint().await;
        assert_eq!((hint.request, hint.why), (request.id, why));
        hint
    }

    pub(crate) fn wall_us(&self) -> u64 {
        self.clock.wall_us()
    }

    pub(crate) async fn accept(&self) -> Request {
        let id = RequestId::from_uuid(Uuid::now_v7());
        self.accept_as(id, "etl", None).await
    }

    pub(crate) async fn accept_as(
        &self,
        id: RequestId,
        flow: &str,
        parent: Option<RequestId>,
    ) -> Request {
        let mut request = Request {
            id,
            log: self.log.clone(),
            seq: Seq::START,
            after: None,
            epoch: 0,
            generation: 0,
            replica: replica(),
            clock: self.clock.clone(),
            claim: None,
            standing: Standing::Running,
            deadline_us: self.wall_us() + 3_600_000_000,
        };
        let parent = parent.map(|request| turlough_statestore::event::Parent {
            request,
            generation: 0,
            step: StepPath::from("child"),
            attempt: 1,
            depth: 1,
        });
        let accepted = Event::Accepted(Accepted {
            flow: flow.parse().unwrap(),
            version: "v1".to_owned(),
            tenant: "acme".parse().unwrap(),
            input: ValueRef::Inline(vec![1, 2, 3].into()),
            query: Vec::new(),
            headers: Vec::new(),
            parent,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: request.deadline_us,
            at_us: self.wall_us(),
        });
        request.append(Kind::Driver, vec![accepted], None).await;
        request
    }
}

async fn beat(state: &State, id: ReplicaId, function: &str) {
    let beat = Beat {
        function: function.parse().unwrap(),
        at_us: 1,
        takes: true,
    };
    let key = id.to_string();
    state.replicas.put(&key, beat.encode()).await.unwrap();
}

pub(crate) fn replica() -> ReplicaId {
    ReplicaId::from_uuid(Uuid::new_v4())
}

pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) words: Listener,
    beats: tokio::task::JoinHandle<()>,
}

impl Replica {
    /// It dies: its heartbeat lapses.
    pub(crate) fn die(&self) {
        self.beats.abort();
    }

    pub(crate) async fn word(&mut self) -> Word {
        let word = tokio::time::timeout(Duration::from_secs(60), self.words.next()).await;
        Word::decode(&word.unwrap().unwrap()).unwrap()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.die();
    }
}

/// A request as its driver knows it.
pub(crate) struct Request {
    pub(crate) id: RequestId,
    log: MemoryLog,
    pub(crate) seq: Seq,
    pub(crate) after: Option<AppendId>,
    pub(crate) epoch: u64,
    pub(crate) generation: u32,
    pub(crate) replica: ReplicaId,
    clock: Clock,
    pub(crate) claim: Option<AppendId>,
    pub(crate) standing: Standing,
    pub(crate) deadline_us: u64,
}

impl Request {
    pub(crate) async fn append(
        &mut self,
        kind: Kind,
        events: Vec<Event>,
        wake_at_us: Option<u64>,
    ) -> AppendId {
        let id = AppendId(Uuid::new_v4().as_u128());
        let envelope = Envelope {
            id,
            after: self.after,
            kind,
            epoch: self.epoch,
            replica: self.replica,
            function: FUNCTION.parse().unwrap(),
            generation: self.generation,
            deadline_us: Some(self.deadline_us),
            wake_at_us,
            standing: self.standing,
        };
        let append = Append::new(envelope, events);
        self.seq = self.log.append(self.id, self.seq, &append).await.unwrap();
        self.after = Some(id);
        id
    }

    fn now(&self) -> u64 {
        self.clock.wall_us()
    }

    pub(crate) async fn claim(&mut self, replica: ReplicaId) -> AppendId {
        self.epoch += 1;
        self.replica = replica;
        let claimed = Event::Claimed {
            replica,
            epoch: self.epoch,
            at_us: self.now(),
        };
        let id = self.append(Kind::Driver, vec![claimed], None).await;
        self.claim = Some(id);
        id
    }

    /// A step's end stands for whatever a driver appends.
    pub(crate) async fn go_on(&mut self) {
        let ticked = Event::Ticked { at_us: self.now() };
        self.append(Kind::Driver, vec![ticked], None).await;
    }

    pub(crate) async fn sleep_until(&mut self, wake_at_us: Option<u64>) {
        let released = Event::Released { at_us: self.now() };
        self.standing = Standing::Sleeping;
        self.append(Kind::Driver, vec![released], wake_at_us).await;
        self.standing = Standing::Running;
    }

    pub(crate) async fn signal(&mut self) -> AppendId {
        let signalled = Event::Signalled {
            name: "go".to_owned(),
            value: ValueRef::Inline(vec![1].into()),
            at_us: self.now(),
        };
        self.append(Kind::External, vec![signalled], None).await
    }

    pub(crate) async fn snapshot(&mut self) {
        let snapshot = Event::Snapshot(Snapshot {
            state: ValueRef::Inline(vec![1].into()),
            of: self.seq,
            last: self.after.unwrap(),
            moved: Vec::new(),
            stores: Vec::new(),
            at_us: self.now(),
        });
        self.append(Kind::Driver, vec![snapshot], None).await;
    }

    pub(crate) async fn restart(&mut self) {
        let asked = Event::RestartAsked {
            from: None,
            version: Some("v2".to_owned()),
            deadline_us: self.now() + 1_000_000_000,
            at_us: self.now(),
        };
        self.append(Kind::External, vec![asked], None).await;
        self.generation += 1;
    }

    pub(crate) fn ended(&self, outcome: Outcome) -> Event {
        Event::Ended {
            outcome,
            trouble: Vec::new(),
            owed: Vec::new(),
            at_us: self.now(),
        }
    }

    /// It fails, and is kept for a while.
    pub(crate) async fn fail(&mut self, kept_until_us: Option<u64>) {
        let outcome = Outcome::Failed {
            step: StepPath::from("load"),
            message: "no such table".to_owned(),
            cause: Cause::Permanent,
        };
        let ended = self.ended(outcome);
        let released = Event::Released { at_us: self.now() };
        self.append(Kind::Driver, vec![ended, released], kept_until_us)
            .await;
    }

    pub(crate) async fn settle(&mut self, outcome: Outcome) {
        let at_us = self.now();
        let events = vec![self.ended(outcome), Event::Closing { at_us }];
        self.append(Kind::Driver, events, None).await;
        let settled = vec![Event::Settled { at_us: self.now() }];
        self.append(Kind::Driver, settled, None).await;
    }

    pub(crate) async fn succeed(&mut self) {
        let output = Some(ValueRef::Inline(vec![1].into()));
        self.settle(Outcome::Succeeded { output, size: 1 }).await;
    }
}

pub(crate) async fn status(keeper: &Keeper, request: &Request) -> Option<Status> {
    summary(keeper, request)
        .await
        .map(|summary| summary.status())
}

pub(crate) async fn summary(keeper: &Keeper, request: &Request) -> Option<Summary> {
    keeper.get(request.id).await.unwrap()
}

/// What is said by now was said: a request that is due later than all of it is hinted at last.
pub(crate) async fn nothing_more(world: &World) {
    let last = world.accept().await;
    let hint = world.hint().await;
    assert_eq!((hint.request, hint.why), (last.id, Why::Accepted));
}

/// Asks again until it is so; a long limit, since machines may be slow.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let ask = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), ask).await;
    found.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}
