//! What a scenario does by hand, what it looks at, and how it is proven.

use std::any::Any;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use turlough_sdk::{ReplicaId, RequestId, Value};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Append, Bus as _, Channel, Event, Log as _, Seq, Word};

use super::super::check::{Reader, Standing};
use super::super::flows::Kind;
use super::super::trap::{Does, Trap};
use super::super::world::World;
use super::{events, request};
use crate::engine::{Call, CallKey, Control, ControlError, StartError, Started};
use crate::fault::{Fault, PLANTED};

/// The scenario fails in this way where a rule is not kept.
pub(super) fn fails_with(fault: Fault, how: &str, scenario: fn()) {
    PLANTED.set(Some(fault));
    let went = catch_unwind(scenario);
    PLANTED.set(None);
    let failed = went.expect_err("without its rule it goes well");
    let why = text(failed.as_ref());
    assert!(why.contains(how), "{fault:?} shows otherwise: {why}");
}

fn text(failed: &(dyn Any + Send)) -> String {
    let text = failed.downcast_ref::<String>().cloned();
    let text = text.or_else(|| failed.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_default()
}

/// Time passes until something is true, but not for long.
pub(super) fn within(world: &mut World, s: u64, what: &str, is_true: impl Fn(&World) -> bool) {
    let limit = world.now + Duration::from_secs(s);
    while !is_true(world) {
        assert!(world.now < limit, "{what} did not come within {s} s");
        world.step();
    }
}

/// The same where it takes long: it is looked at four times in a second.
pub(super) fn at_last(world: &mut World, s: u64, what: &str, is_true: impl Fn(&World) -> bool) {
    let limit = world.now + Duration::from_secs(s);
    while !is_true(world) {
        assert!(world.now < limit, "{what} did not come within {s} s");
        world.run_for(Duration::from_millis(250));
    }
}

/// What somebody asked for, once it is there.
pub(super) fn answered<T>(world: &mut World, asked: JoinHandle<T>) -> T {
    world.until("an answer", |_| asked.is_finished());
    let answer = asked.now_or_never().expect("it is finished");
    answer.expect("it is not lost")
}

/// Asks a host to run a request on a number, which need not be the one of its key.
pub(super) fn start(
    world: &World,
    host: usize,
    (kind, n, input): (Kind, u64, u64),
    call: Call,
) -> JoinHandle<Result<Started, StartError>> {
    let host = &world.hosts[host];
    let engine = host.engine().expect("a replica").clone();
    let value = Value::encode(&input).expect("a number");
    let key = Some(CallKey::Given(n.to_string()));
    let started = host.spawn(async move {
        let flow = engine.flow(kind.flow()).expect("it is registered");
        engine.start(flow, value, Call { key, ..call }).await
    });
    started.expect("it is alive")
}

/// Asks something of a request, at a host.
pub(super) fn control(
    world: &World,
    host: usize,
    request: RequestId,
    control: Control,
) -> JoinHandle<Result<(), ControlError>> {
    let host = &world.hosts[host];
    let engine = host.engine().expect("a replica").clone();
    let asked = host.spawn(async move { engine.control(request, control, None).await });
    asked.expect("it is alive")
}

pub(super) fn signal(n: u64) -> Control {
    Control::Signal {
        name: "go".to_owned(),
        value: Value::encode(&n).expect("a number"),
    }
}

/// Something is done where the state is kept.
pub(super) fn by_server<T: Send + 'static>(
    world: &mut World,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let done = world.server.runtime.spawn(work);
    answered(world, done)
}

/// An append comes late, past all that was asked meanwhile.
pub(super) fn stores(world: &mut World, request: RequestId, after: Seq, append: Append) -> Seq {
    let server = Arc::clone(&world.server);
    let stored = by_server(world, async move {
        let seq = server.log.append(request, after, &append).await?;
        server.has_stored(seq);
        Ok::<_, turlough_statestore::StateError>(seq)
    });
    stored.expect("nothing stands there")
}

/// A copy of what was caught.
pub(super) type Copied = Arc<Mutex<Option<Append>>>;

/// Catches an append, and keeps a copy of it.
pub(super) fn copying(
    world: &World,
    host: usize,
    does: Does,
    request: RequestId,
    is: impl Fn(&Event) -> bool + Send + 'static,
) -> (Trap, Copied) {
    let copied = Copied::default();
    let copy = Arc::clone(&copied);
    let trap = world.trap(host, does, move |sent| {
        let is_it = sent.appends(request, &is);
        if is_it && let super::super::trap::Message::Append(_, append) = sent {
            *copy.lock().expect("nobody panics") = Some((*append).clone());
        }
        is_it
    });
    (trap, copied)
}

pub(super) fn copy_of(copied: &Copied) -> Append {
    let copy = copied.lock().expect("nobody panics").take();
    copy.expect("it was caught")
}

/// A host dies, and another takes its place.
pub(super) fn replace(world: &mut World, host: usize) {
    world.hosts[host].kill();
    world.hosts[host] = world.replica();
    world.until("a replica", |world| {
        let engine = world.hosts[host].engine();
        engine.is_some_and(|engine| engine.shared.absence().is_none())
    });
}

/// A host dies that holds a request, the other takes that over, and then another takes its place.
pub(super) fn passes_on(world: &mut World, request: RequestId, host: usize) {
    let known = claims(world, request).len();
    world.hosts[host].kill();
    world.until("a take-over", |world| claims(world, request).len() > known);
    assert_eq!(claims(world, request)[known].0, replica_of(world, 1 - host));
    replace(world, host);
}

/// Somebody pokes a host, who may have appended to a request or not.
pub(super) fn poke(world: &mut World, host: usize, request: RequestId) {
    let (server, replica) = (Arc::clone(&world.server), replica_of(world, host));
    let word = Word::Poke { request }.encode();
    let told = by_server(world, async move {
        server.bus.send(Channel::Replica(replica), word).await
    });
    told.expect("it is heard");
}

pub(super) fn stop_for(world: &mut World, host: usize, s: u64) {
    world.hosts[host].stopped_until = Some(world.now + Duration::from_secs(s));
}

pub(super) fn replica_of(world: &World, host: usize) -> ReplicaId {
    world.hosts[host]
        .engine()
        .expect("a replica")
        .shared
        .replica
}

/// The claims that stand in a log, by whom and of which epoch.
pub(super) fn claims(world: &World, request: RequestId) -> Vec<(ReplicaId, u64)> {
    let events = events(world, request).into_iter();
    let claims = events.filter_map(|event| match event {
        Event::Claimed { replica, epoch, .. } => Some((replica, epoch)),
        _ => None,
    });
    claims.collect()
}

/// Where a log ends.
pub(super) fn place_of_last(world: &World, request: RequestId) -> Seq {
    let records = world.records(request);
    records.last().map_or(Seq::START, |record| record.seq)
}

pub(super) fn stands(world: &World, request: RequestId, is: impl Fn(&Event) -> bool) -> bool {
    events(world, request).iter().any(is)
}

pub(super) const fn is_accepted(event: &Event) -> bool {
    matches!(event, Event::Accepted(_))
}

pub(super) const fn is_part(event: &Event) -> bool {
    matches!(event, Event::Part { .. })
}

pub(super) const fn is_claim(event: &Event) -> bool {
    matches!(event, Event::Claimed { .. })
}

pub(super) const fn is_released(event: &Event) -> bool {
    matches!(event, Event::Released { .. })
}

pub(super) const fn is_snapshot(event: &Event) -> bool {
    matches!(event, Event::Snapshot(_))
}

pub(super) const fn is_end(event: &Event) -> bool {
    matches!(event, Event::Ended { .. })
}

pub(super) const fn is_delivered(event: &Event) -> bool {
    matches!(event, Event::Delivered { .. })
}

pub(super) const fn is_closing(event: &Event) -> bool {
    matches!(event, Event::Closing { .. })
}

pub(super) const fn is_settled(event: &Event) -> bool {
    matches!(event, Event::Settled { .. })
}

/// The recorded start of a step.
pub(super) fn is_start(step: &'static str) -> impl Fn(&Event) -> bool + Copy + Send + 'static {
    move |event| matches!(event, Event::StepStarted { step: of, .. } if of.as_str() == step)
}

/// The end of a step.
pub(super) fn is_end_of(step: &'static str) -> impl Fn(&Event) -> bool + Copy + Send + 'static {
    move |event| matches!(event, Event::StepEnded(ended) if ended.step.as_str() == step)
}

/// Lets a request come to its end, whatever that is, and leave nothing behind.
pub(super) fn settles(world: &mut World, kind: Kind, n: u64) -> Standing {
    let id = request(world, kind, n);
    let is_over = |world: &World| stands(world, id, is_settled);
    at_last(world, 500, "the end of the request", is_over);
    let reader = Reader::of(world);
    let is_settled = |world: &World| {
        let standing = reader.standing(id, &world.records(id));
        standing.is_some_and(|standing| standing.is_settled)
    };
    within(world, 120, "an end that counts", is_settled);
    world.until("an empty queue", |world| world.hints() == 0);
    let standing = reader.standing(id, &world.records(id));
    standing.expect("it has a log")
}

/// Of a request that failed: how.
pub(super) fn failed_by(standing: &Standing) -> Option<turlough_sdk::Cause> {
    match &standing.outcome {
        Some(Outcome::Failed { cause, .. }) => Some(*cause),
        _ => None,
    }
}
