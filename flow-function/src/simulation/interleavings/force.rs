//! What scenarios have in common.

use std::panic::{UnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use turlough_sdk::{ReplicaId, RequestId, Value};
use turlough_statestore::event::Parent;
use turlough_statestore::{AppendId, Event, Table as _};

use super::super::check::{Reader, Standing};
use super::super::world::World;
use super::events;
use crate::engine::{Call, CallKey, Control, ControlError, child_id, keyed};
use crate::fault::{Fault, PLANTED};

/// Longer than the flows of a simulation may take.
const LIMIT: Duration = Duration::from_secs(700);

/// A scenario fails where a rule is not kept, and says so in these words.
pub(super) fn fails_with(fault: Fault, words: &str, scenario: impl FnOnce() + UnwindSafe) {
    PLANTED.set(Some(fault));
    let failed = failure(scenario);
    PLANTED.set(None);
    assert!(failed.contains(words), "{fault:?}: {failed}");
}

/// How a scenario fails.
pub(super) fn failure(scenario: impl FnOnce() + UnwindSafe) -> String {
    let Err(panic) = catch_unwind(scenario) else {
        return "it does not".to_owned();
    };
    let text = panic.downcast_ref::<String>().cloned();
    let word = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or(word).unwrap_or_default()
}

/// Time passes until something is true, and not more than so many seconds.
pub(super) fn within(
    world: &mut World,
    seconds: u64,
    what: &str,
    is_true: impl Fn(&World) -> bool,
) {
    let limit = world.now + Duration::from_secs(seconds);
    while !is_true(world) {
        assert!(
            world.now < limit,
            "{what} did not come about in {seconds} s"
        );
        world.step();
    }
}

/// The replica that a host is.
pub(super) fn replica(world: &World, host: usize) -> ReplicaId {
    world.hosts[host]
        .engine()
        .expect("a replica")
        .shared
        .replica
}

/// Whether the others see a heartbeat of a replica.
pub(super) fn has_heartbeat(world: &World, host: usize) -> bool {
    let name = replica(world, host).to_string();
    let _entered = world.server.runtime.enter();
    let beat = world.server.replicas.get(&name).now_or_never();
    beat.expect("it is in memory")
        .expect("it can be read")
        .is_some()
}

/// Asks a host to run any flow on any input, under a key. Whether it was accepted.
pub(super) fn start(
    world: &World,
    host: usize,
    (flow, key): (&'static str, &'static str),
    input: Value,
) -> (RequestId, JoinHandle<bool>) {
    let host = &world.hosts[host];
    let engine = host.engine().expect("a replica").clone();
    let asked = host.spawn(async move {
        let known = engine.flow(flow).expect("it is registered");
        let call = Call {
            key: Some(CallKey::Given(key.to_owned())),
            ..Call::default()
        };
        engine.start(known, input, call).await.is_ok()
    });
    let request = keyed(&format!("{}/{flow}/{key}", world.tenant()));
    (request, asked.expect("the host is alive"))
}

/// What becomes of something that is asked for.
pub(super) fn answer<T>(world: &mut World, asked: JoinHandle<T>) -> T {
    world.until("an answer", |_| asked.is_finished());
    let answer = asked.now_or_never().expect("it is finished");
    answer.expect("whoever was asked is alive")
}

/// Asks something of a request.
pub(super) fn control(
    world: &World,
    host: usize,
    request: RequestId,
    (control, key): (Control, Option<&'static str>),
) -> JoinHandle<Result<(), ControlError>> {
    let host = &world.hosts[host];
    let engine = host.engine().expect("a replica").clone();
    let asked = host.spawn(async move { engine.control(request, control, key).await });
    asked.expect("the host is alive")
}

/// The signal that requests of the kind `Asks` wait for.
pub(super) fn go(n: u64) -> Control {
    let (name, value) = ("go".to_owned(), Value::encode(&n).expect("a number"));
    Control::Signal { name, value }
}

/// The claims in a log, whether they count or not: whose, at which epoch, and the append.
pub(super) fn claims(world: &World, request: RequestId) -> Vec<(ReplicaId, u64, AppendId)> {
    let mut claims = Vec::new();
    for record in world.records(request) {
        for event in &record.append.events {
            if let Event::Claimed { replica, epoch, .. } = event {
                claims.push((*replica, *epoch, record.append.envelope.id));
            }
        }
    }
    claims
}

/// Whether the last append of a log lets go of the request.
pub(super) fn is_released(world: &World, request: RequestId) -> bool {
    let records = world.records(request);
    let last = records.last().and_then(|last| last.append.events.last());
    matches!(last, Some(Event::Released { .. }))
}

/// The sub-flow of the step `child`.
pub(super) fn child_of(request: RequestId, generation: u32, attempt: u32) -> RequestId {
    child_id(&Parent {
        request,
        generation,
        step: "child".into(),
        attempt,
        depth: 0,
    })
}

/// How a request stands once it is settled and nothing is queued.
pub(super) fn settled(world: &mut World, request: RequestId) -> Standing {
    let (reader, limit) = (Reader::of(world), world.now + LIMIT);
    while !is_settled(&reader, world, request) {
        let log = || events(world, request);
        assert!(world.now < limit, "{request} does not end: {:#?}", log());
        world.step();
    }
    world.until("an empty queue", |world| world.hints() == 0);
    let standing = reader.standing(request, &world.records(request));
    standing.expect("it is settled")
}

pub(super) fn is_settled(reader: &Reader, world: &World, request: RequestId) -> bool {
    let standing = reader.standing(request, &world.records(request));
    standing.is_some_and(|standing| standing.is_settled)
}
