//! How fast files are. Run with `--release -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use turlough_statestore::{Options, Seq, Sync};
use uuid::Uuid;

use crate::{SOON, append, open, options, request};

const SECONDS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn appends_alone_and_together() {
    for (name, sync) in [("every 200 ms", SOON), ("always", Sync::Always)] {
        for in_flight in [1_u32, 64] {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let options = Options {
                bytes_max: 8 << 30,
                ..options(sync)
            };
            let state = open(dir.path(), &options).await;
            let begin = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..in_flight {
                let state = state.clone();
                tasks.spawn(async move {
                    let mut took = Vec::new();
                    while begin.elapsed() < SECONDS {
                        let one = request(Uuid::now_v7().as_u128());
                        let mut last = Seq::START;
                        for id in 0..6 {
                            let at = Instant::now();
                            let append = append(id, 40);
                            last = state.log.append(one, last, &append).await.unwrap();
                            took.push(at.elapsed());
                        }
                    }
                    took
                });
            }
            let mut took: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
            took.sort_unstable();
            let rate = took.len() as f64 / begin.elapsed().as_secs_f64();
            let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
            println!("{name}, {in_flight} in flight: p50 {p50:?}, p99 {p99:?}, {rate:.0}/s");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn starts_with_a_million_records() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = Options {
        bytes_max: 8 << 30,
        ..options(SOON)
    };
    let state = open(dir.path(), &options).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let state = state.clone();
        tasks.spawn(async move {
            for _ in 0..1_000_000 / 64 / 5 {
                let one = request(Uuid::now_v7().as_u128());
                let mut last = Seq::START;
                for id in 0..5 {
                    last = state.log.append(one, last, &append(id, 40)).await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    let bytes = state.log.usage().await.unwrap().bytes;
    drop(state);
    for _ in 0..2 {
        let begin = Instant::now();
        let state = open(dir.path(), &options).await;
        println!(
            "1 M records, {bytes} bytes: open after {:?}",
            begin.elapsed()
        );
        let one = request(Uuid::now_v7().as_u128());
        let last = state.log.append(one, Seq::START, &append(1, 40)).await;
        let mut took = Vec::new();
        for _ in 0..20_000 {
            let at = Instant::now();
            state
                .log
                .at(Seq::new(last.as_ref().unwrap().get() - 500_000))
                .await
                .unwrap();
            took.push(at.elapsed());
        }
        took.sort_unstable();
        println!("an append read by its place: p50 {:?}", took[10_000]);
    }
}
