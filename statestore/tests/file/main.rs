//! What only files can be tried with: killed processes, torn and flipped bytes, full disks, and how
//! fast they are.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod damage;
mod full;
mod kills;
mod room;
mod speed;

use std::path::Path;
use std::time::Duration;

use turlough_sdk::{ReplicaId, RequestId};
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Options, Standing, State, StateError, StateUrl, Sync,
};
use uuid::Uuid;

fn options(sync: Sync) -> Options {
    Options {
        sync,
        ..Options::new("acme".parse().unwrap(), "flows".parse().unwrap())
    }
}

const SOON: Sync = Sync::Every(Duration::from_millis(200));

async fn try_open(dir: &Path, options: &Options) -> Result<State, StateError> {
    State::open(&StateUrl::File(dir.to_owned()), options).await
}

async fn open(dir: &Path, options: &Options) -> State {
    try_open(dir, options).await.unwrap()
}

fn request(number: u128) -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(number))
}

/// An append that names itself, with so many bytes of its own.
fn append(id: u128, bytes: usize) -> Append {
    let envelope = Envelope {
        id: AppendId(id),
        after: None,
        kind: Kind::External,
        epoch: 0,
        replica: ReplicaId::from_uuid(Uuid::from_u128(1)),
        function: "flows".parse().unwrap(),
        generation: 0,
        deadline_us: None,
        wake_at_us: None,
        standing: Standing::Running,
    };
    Append::new(envelope, vec![Event::part(id, 0, &vec![7; bytes].into())])
}

/// The ids of a request's appends, in order.
async fn ids(state: &State, request: RequestId) -> Vec<u128> {
    let records = state.log.read(request, turlough_statestore::Seq::START);
    let records = records.await.unwrap();
    records.iter().map(|r| r.append.envelope.id.0).collect()
}

/// The segments of a folder of records, in order.
fn segments(dir: &Path, of: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("flows").join(of)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs a test of this binary as a process of its own.
fn child(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        test,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}
