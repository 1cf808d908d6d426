//! Processes that are killed at any moment.
//!
//! A process appends to several requests at once, through rolls of segments and deletions, and prints
//! each append that was acknowledged. It is killed after a random time, and what it left is read: all
//! that was acknowledged stands there, in order, and at most one append of each request more, which
//! was on its way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use turlough_statestore::{Options, Seq, State, Sync};

use crate::{SOON, append, child, ids, open, options, request};

const DIR: &str = "TURLOUGH_TEST_KILLS_DIR";
const SYNC: &str = "TURLOUGH_TEST_KILLS_SYNC";
const SEED: &str = "TURLOUGH_TEST_SEED";
const KILLS: u32 = 60;
const REQUESTS: u128 = 8;

fn kill_options(sync: Sync) -> Options {
    Options {
        // Segments of 1 MiB: a run meets several.
        bytes_max: 16 << 20,
        // A process reads what is left, and makes room by its age: a second suffices for many runs.
        max_age: Duration::from_secs(3600),
        ..options(sync)
    }
}

/// What the acknowledged lines of a process say: the ids of each request, and the items in the queue.
#[derive(Default)]
struct Acknowledged {
    logs: BTreeMap<u128, Vec<u128>>,
    items: BTreeMap<u128, bool>,
}

#[test]
fn what_was_acknowledged_outlives_a_kill_at_any_moment() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64);
    println!("{SEED}={seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut random = seed;
    for sync in ["always", "soon"] {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Acknowledged::default();
        for kill in 0..KILLS / 2 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // From before the state is open to well into its work.
            let after = Duration::from_micros((random >> 33) % 150_000);
            run_and_kill(dir.path(), sync, after, &mut known);
            runtime.block_on(check(dir.path(), &mut known, kill));
        }
        let appends: usize = known.logs.values().map(Vec::len).sum();
        println!("{sync}: {appends} appends, {} items", known.items.len());
        assert!(
            appends > 500,
            "{appends}: the processes did hardly anything"
        );
    }
}

fn run_and_kill(dir: &Path, sync: &str, after: Duration, known: &mut Acknowledged) {
    let mut command = child("kills::appends_until_killed");
    command.env(DIR, dir).env(SYNC, sync).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let out = BufReader::new(process.stdout.take().unwrap());
    let (begun, has_begun) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in out.lines() {
            let line = line.unwrap();
            if line.starts_with("running 1 test") {
                let _ = begun.send(());
            }
            lines.push(line);
        }
        lines
    });
    has_begun.recv_timeout(Duration::from_secs(60)).unwrap();
    std::thread::sleep(after);
    process.kill().unwrap();
    process.wait().unwrap();
    for line in reader.join().unwrap() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["appended", request, id, "."] => known
                .logs
                .entry(request.parse().unwrap())
                .or_default()
                .push(id.parse().unwrap()),
            ["enqueued", id, "."] => {
                known.items.insert(id.parse().unwrap(), true);
            }
            ["done", id, "."] => {
                known.items.insert(id.parse().unwrap(), false);
            }
            _ => {}
        }
    }
}

async fn check(dir: &Path, known: &mut Acknowledged, kill: u32) {
    let state = open(dir, &kill_options(SOON)).await;
    for number in 0..REQUESTS {
        let found = ids(&state, request(number)).await;
        let known = known.logs.entry(number).or_default();
        let more = found.strip_prefix(&known[..]);
        let more = more.unwrap_or_else(|| panic!("kill {kill}: {known:?} is not in {found:?}"));
        assert!(
            more.len() <= 1,
            "kill {kill}: {more:?} were not acknowledged"
        );
        *known = found;
    }
    let all = state
        .queue
        .take("flows", 1_000_000, Duration::ZERO)
        .await
        .unwrap();
    let left: BTreeMap<u128, u32> = all
        .iter()
        .map(|taken| (number_of(&taken.payload), taken.attempt))
        .collect();
    assert_eq!(left.len(), all.len(), "an item is there twice");
    for (id, waits) in &known.items {
        // An acknowledgement that was heard stands.
        assert!(
            *waits || !left.contains_key(id),
            "kill {kill}: item {id} is back"
        );
    }
    let is_gone = |(id, waits): &(&u128, &bool)| **waits && !left.contains_key(id);
    let gone: Vec<_> = known.items.iter().filter(is_gone).collect();
    assert!(
        gone.len() <= 1,
        "kill {kill}: only one acknowledgement was on its way: {gone:?}"
    );
    known.items.retain(|id, _| left.contains_key(id));
    drop(state);
}

fn number_of(payload: &Bytes) -> u128 {
    u128::from_le_bytes(payload[..16].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in a process of its own until it is killed, see above"]
async fn appends_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let sync = match std::env::var(SYNC).as_deref() {
        Ok("always") => Sync::Always,
        _ => SOON,
    };
    let state = open(Path::new(&dir), &kill_options(sync)).await;
    // Ends the line that the harness began.
    say("");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..REQUESTS {
        tasks.spawn(append_to(state.clone(), number));
    }
    tasks.spawn(work(state));
    tasks.join_all().await;
}

async fn append_to(state: State, number: u128) {
    let one = request(number);
    let last = state.log.last(one).await.unwrap();
    let mut id = last.as_ref().map_or(0, |last| last.append.envelope.id.0);
    let mut last = last.map_or(Seq::START, |last| last.seq);
    loop {
        id += 1;
        let bytes = [10, 300, 5_000, 20_000][(id % 4) as usize];
        match state.log.append(one, last, &append(id, bytes)).await {
            Ok(seq) => {
                last = seq;
                say(&format!("appended {number} {id} ."));
            }
            // It is full in the end, which is as good as a wait to be killed.
            Err(error) => {
                assert!(error.passes(), "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                id -= 1;
            }
        }
    }
}

/// Puts three items into the queue for two that it takes out.
async fn work(state: State) {
    loop {
        for _ in 0..3 {
            let id = uuid::Uuid::new_v4().as_u128();
            let payload = [&id.to_le_bytes()[..], &[7; 2_000]].concat();
            if state.queue.enqueue("flows", payload.into()).await.is_ok() {
                say(&format!("enqueued {id} ."));
            }
        }
        let taken = state.queue.take("flows", 2, Duration::ZERO).await.unwrap();
        for taken in taken {
            state.queue.acknowledge(&taken).await.unwrap();
            say(&format!("done {} .", number_of(&taken.payload)));
        }
    }
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}
