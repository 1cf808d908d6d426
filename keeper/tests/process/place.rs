//! What a keeper needs around it: a state, and what replicas write there.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use turlough_sdk::{ReplicaId, RequestId, ValueRef};
use turlough_statestore::event::Accepted;
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Options, Seq, Standing, State, StateUrl,
};
use turlough_testing::{Nats, Program, WallClock, free_port};
use uuid::Uuid;

/// The function whose requests these are.
pub(crate) const FUNCTION: &str = "flows";
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
const HOUR_US: u64 = 3_600_000_000;

pub(crate) fn keeper(state: &str) -> Program {
    start(&mut command(state))
}

/// A keeper that goes by a clock of its own.
pub(crate) fn keeper_by(state: &str, clock: &WallClock) -> Program {
    start(command(state).envs(clock.environment()))
}

fn command(state: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turlough-keeper"));
    command
        .env_clear()
        .env("TURLOUGH_LISTEN", "127.0.0.1")
        .env("TURLOUGH_STATE", state)
        .env("TURLOUGH_HEARTBEAT", "2s")
        .env("TURLOUGH_KEEPER_INDEX", "memory:");
    command
}

fn start(command: &mut Command) -> Program {
    Program::start(command, free_port())
}

/// The state as a replica sees it.
pub(crate) async fn state(nats: &Nats) -> State {
    let url: StateUrl = nats.url().parse().unwrap();
    let options = Options {
        heartbeat: HEARTBEAT,
        ..Options::new("default".parse().unwrap(), FUNCTION.parse().unwrap())
    };
    State::open(&url, &options).await.unwrap()
}

/// A request that somebody accepted.
pub(crate) async fn begin(state: &State) -> RequestId {
    let replica = ReplicaId::from_uuid(Uuid::new_v4());
    append(state, replica, Standing::Running, None, &[]).await
}

/// A request that a replica accepted and claimed.
pub(crate) async fn claimed(state: &State, replica: ReplicaId) -> RequestId {
    let claimed = Event::Claimed {
        replica,
        epoch: 1,
        at_us: now_us(),
    };
    append(state, replica, Standing::Running, None, &[claimed]).await
}

/// A request that nobody drives for an hour.
pub(crate) async fn asleep(state: &State) -> RequestId {
    let replica = ReplicaId::from_uuid(Uuid::new_v4());
    let due_us = now_us() + HOUR_US;
    let at_us = now_us();
    let claimed = Event::Claimed {
        replica,
        epoch: 1,
        at_us,
    };
    let events = [claimed, Event::Released { at_us }];
    append(state, replica, Standing::Sleeping, Some(due_us), &events).await
}

async fn append(
    state: &State,
    replica: ReplicaId,
    standing: Standing,
    wake_at_us: Option<u64>,
    more: &[Event],
) -> RequestId {
    let request = RequestId::from_uuid(Uuid::now_v7());
    let envelope = Envelope {
        id: AppendId(Uuid::new_v4().as_u128()),
        after: None,
        kind: Kind::Driver,
        epoch: u64::from(!more.is_empty()),
        replica,
        function: FUNCTION.parse().unwrap(),
        generation: 0,
        deadline_us: None,
        wake_at_us,
        standing,
    };
    let accepted = Accepted {
        flow: "plain".parse().unwrap(),
        version: "1".to_owned(),
        tenant: "default".parse().unwrap(),
        input: ValueRef::Inline(vec![1].into()),
        query: Vec::new(),
        headers: Vec::new(),
        parent: None,
        callbacks: Vec::new(),
        call_id: None,
        delivery: None,
        trace: None,
        deadline_us: now_us() + 24 * HOUR_US,
        at_us: now_us(),
    };
    let events = [&[Event::Accepted(accepted)], more].concat();
    let append = Append::new(envelope, events);
    let appended = state.log.append(request, Seq::START, &append).await;
    appended.unwrap();
    request
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}
