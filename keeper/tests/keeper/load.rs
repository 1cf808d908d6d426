//! Figures: how fast logs are followed, what many open requests take. Asked for by
//! `cargo test --release -p turlough-keeper load -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use turlough_keeper::{IndexPlace, Options, Retention};

use crate::world::{World, replica, until};

/// Time of the processor that this process took, and its memory in MiB.
fn taken() -> (Duration, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (Duration::from_millis(ticks * 10), kib / 1024)
}

#[tokio::test]
#[ignore = "figures, of a release build"]
async fn load_of_following_what_is_there() {
    let world = World::own();
    let own = world.options().replica;
    for _ in 0..100_000 {
        let mut request = world.accept().await;
        request.claim(own).await;
        request.succeed().await;
    }
    let folder = tempfile::tempdir().unwrap();
    for index in [
        IndexPlace::Memory,
        IndexPlace::File(folder.path().join("keeper.db")),
    ] {
        let options = Options {
            replica: own,
            index: index.clone(),
            ..world.options()
        };
        let (began, (before, _)) = (Instant::now(), taken());
        let keeper = world.keeper_with(options).await;
        until("all are there", async || {
            (keeper.counts().settled == 100_000).then_some(())
        })
        .await;
        let (took, (after, mib)) = (began.elapsed(), taken());
        println!(
            "{index:?}: 400,000 appends of 100,000 requests in {took:?}, {} appends/s; processor {:?}, {mib} MiB",
            400_000_000 / took.as_millis().max(1),
            after - before
        );
        keeper.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, of a release build"]
async fn load_of_5000_requests_a_second() {
    for kept in [false, true] {
        let world = World::own();
        let options = Options {
            retention: Some(Retention::new(10_000, 256 << 20)),
            ..world.options()
        };
        let own = options.replica;
        let keeper = if kept {
            Some(world.keeper_with(options).await)
        } else {
            None
        };
        let (began, (before, _)) = (Instant::now(), taken());
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..1_000 {
            ticks.tick().await;
            for _ in 0..50 {
                let mut request = world.accept().await;
                request.claim(own).await;
                request.succeed().await;
            }
        }
        let (took, (after, mib)) = (began.elapsed(), taken());
        println!(
            "keeper {kept}: 50,000 requests, 4 appends each, in {took:?}: processor {:?}, {mib} MiB",
            after - before
        );
        if let Some(keeper) = keeper {
            println!("{:?} {:?}", keeper.counts(), keeper.behind());
        }
    }
}

#[tokio::test]
#[ignore = "figures, of a release build"]
async fn load_of_100_000_open_requests() {
    let world = World::shared();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..100_000 {
        let mut request = world.accept().await;
        request.claim(replica()).await;
        request
            .sleep_until(Some(world.wall_us() + 3_000_000_000))
            .await;
    }
    let (_, before) = taken();
    for what in ["rebuilt", "opened"] {
        let options = Options {
            index: IndexPlace::File(folder.path().join("keeper.db")),
            ..world.options()
        };
        let began = Instant::now();
        let keeper = world.keeper_with(options).await;
        until("all are there", async || {
            (keeper.counts().open == 100_000).then_some(())
        })
        .await;
        let (_, mib) = taken();
        println!(
            "100,000 open requests {what} in {:?}, {before} MiB before, {mib} MiB",
            began.elapsed()
        );
        keeper.stop().await;
        drop(keeper);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
