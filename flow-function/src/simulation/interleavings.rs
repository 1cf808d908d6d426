//! Interleavings that broke an earlier draft of the protocol, forced one by one. Each test fails where
//! the rule that it is for is not kept; `docs/protocol.md` has both.

mod acts;
mod calls;
mod crashes;
mod ends;
mod force;
mod holders;
mod inputs;
mod notices;
mod payments;
mod remade;
mod results;
mod rivals;
mod sleeps;
mod snapshots;
mod speculation;
mod starts;
mod unawaited;

use turlough_sdk::{RequestId, Value};
use turlough_statestore::{Append, Event, Sync};

use super::check::{Reader, wrong};
use super::flows::Kind;
use super::server::SYNC_INTERVAL;
use super::world::World;
use crate::engine::{Call, CallKey, keyed};
use crate::settings::Settings;

/// A cluster of two replicas, the first two hosts, and a keeper.
fn cluster(change: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::new(1, |settings| {
        settings.state.sync = Sync::Every(SYNC_INTERVAL);
        change(settings);
    });
    for _ in 0..2 {
        let host = world.replica();
        world.hosts.push(host);
    }
    let host = world.keeper();
    world.hosts.push(host);
    world.until("a keeper", |world| world.hosts[2].keeper().is_some());
    for replica in 0..2 {
        world.until("a replica", |world| {
            let engine = world.hosts[replica].engine();
            engine.is_some_and(|engine| engine.shared.absence().is_none())
        });
    }
    world
}

/// The request that a kind and a number make.
fn request(world: &World, kind: Kind, n: u64) -> RequestId {
    keyed(&format!("{}/{}/{n}", world.tenant(), kind.flow()))
}

/// Asks a host to run a request.
fn ask(world: &World, host: usize, kind: Kind, n: u64) -> RequestId {
    let host = &world.hosts[host];
    let engine = host.engine().expect("a replica").clone();
    let value = Value::encode(&n).expect("a number");
    drop(host.spawn(async move {
        let flow = engine.flow(kind.flow()).expect("it is registered");
        let call = Call {
            key: Some(CallKey::Given(n.to_string())),
            ..Call::default()
        };
        drop(engine.start(flow, value, call).await);
    }));
    request(world, kind, n)
}

/// All events of a log, whether they count or not.
fn events(world: &World, request: RequestId) -> Vec<Event> {
    let records = world.records(request).into_iter();
    records.flat_map(|record| record.append.events).collect()
}

/// What stands in a log that is like this.
fn appends(world: &World, request: RequestId, is: impl Fn(&Event) -> bool) -> Vec<Append> {
    let records = world.records(request).into_iter();
    let appends = records.map(|record| record.append);
    appends
        .filter(|append| append.events.iter().any(&is))
        .collect()
}

/// Lets a request come to its end, which must be the right one, and leave nothing behind.
fn ends_well(world: &mut World, kind: Kind, n: u64) {
    let (id, reader) = (request(world, kind, n), Reader::of(world));
    world.until("the end of the request", |world| {
        let standing = reader.standing(id, &world.records(id));
        standing.is_some_and(|standing| standing.is_settled)
    });
    world.until("an empty queue", |world| world.hints() == 0);
    let standing = reader.standing(id, &world.records(id));
    let found = wrong(
        (kind, n),
        standing.as_ref(),
        &world.functions,
        (false, world.lost),
    );
    assert_eq!(found, None, "{:#?}", events(world, id));
}
