//! Logs that lose their tail, indexes that are lost.

use std::path::Path;
use std::time::Duration;

use turlough_keeper::{IndexPlace, Keeper, Options, Status};
use turlough_statestore::{Link, Log as _, Seq, Why};

use crate::world::{World, replica, status, summary, until};

fn in_file(world: &World, folder: &Path) -> Options {
    Options {
        index: IndexPlace::File(folder.join("keeper.db")),
        ..world.options()
    }
}

/// Interleaving 5: the keeper at a position, the tail cut off, a new request in its place.
#[tokio::test]
async fn what_lies_where_a_lost_tail_lay_is_found() {
    let world = World::shared();
    let folder = tempfile::tempdir().unwrap();
    let keeper = world.keeper_with(in_file(&world, folder.path())).await;
    let mut kept = world.accept().await;
    let claim = kept.claim(replica()).await;
    assert!(status(&keeper, &kept).await.is_some());
    // Points lie a second apart.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let (mark, before) = (world.log.last_place(), (kept.seq, kept.after));
    kept.sleep_until(Some(9_999_999_999_999_999)).await;
    let mut cut_off = Vec::new();
    for _ in 0..10 {
        cut_off.push(world.accept().await);
    }
    assert_eq!(status(&keeper, &kept).await, Some(Status::Sleeping));
    assert_eq!(status(&keeper, &cut_off[9]).await, Some(Status::Running));
    keeper.stop().await;
    while world.hint_now().await.is_some() {}

    world.log.lose_after(mark);
    (kept.seq, kept.after) = before;
    let fresh = world.accept().await;
    let keeper = world.keeper_with(in_file(&world, folder.path())).await;
    assert_eq!(status(&keeper, &fresh).await, Some(Status::Running));
    // It was released; now it is held by its claimant again.
    let summary = summary(&keeper, &kept).await.unwrap();
    assert_eq!(
        (summary.status(), summary.claimant.is_some()),
        (Status::Running, true)
    );
    for request in &cut_off {
        assert_eq!(status(&keeper, request).await, Some(Status::Lost));
    }
    let mut said = Vec::new();
    while said.len() < 2 {
        let hint = world.hint().await;
        said.push((hint.request, hint.why, hint.condemned));
    }
    said.sort_by_key(|(_, why, _)| *why != Why::Accepted);
    assert_eq!(said[0], (fresh.id, Why::Accepted, None));
    assert_eq!(said[1], (kept.id, Why::ClaimantGone, Some(claim)));
}

#[tokio::test]
async fn a_tail_that_is_lost_while_the_keeper_runs_is_noticed_when_it_reconnects() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let kept = world.accept().await;
    assert!(status(&keeper, &kept).await.is_some());
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let mark = world.log.last_place();
    let gone = world.accept().await;
    assert_eq!(status(&keeper, &gone).await, Some(Status::Running));
    world.log.lose_after(mark);
    let fresh = world.accept().await;
    world.link.send_modify(|link| link.era += 1);
    let found = async || status(&keeper, &fresh).await;
    until("the new one is found", found).await;
    let lost = async || (status(&keeper, &gone).await == Some(Status::Lost)).then_some(());
    until("the old one is lost", lost).await;
    assert_eq!(status(&keeper, &kept).await, Some(Status::Running));
}

/// Whoever had no answer appends again under the same id, and may come to the same place, behind others.
#[tokio::test]
async fn an_append_that_is_stored_again_at_its_place_does_not_stand_for_those_before_it() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let mut request = world.accept().await;
    request.claim(world.alive).await;
    let (mark, before) = (world.log.last_place(), (request.seq, request.after));
    request.succeed().await;
    let again = world.accept().await;
    let place = world.log.last_place();
    let stored = world.log.at(place).await.unwrap().unwrap();
    assert_eq!(status(&keeper, &again).await, Some(Status::Running));
    assert_eq!(status(&keeper, &request).await, Some(Status::Succeeded));
    world.log.lose_after(mark);
    (request.seq, request.after) = before;
    while world.log.last_place().get() + 1 < place.get() {
        world.accept().await;
    }
    let stored = stored.append.unwrap();
    let at = world.log.append(again.id, Seq::START, &stored).await;
    assert_eq!(at.unwrap(), place);
    world.link.send_modify(|link| link.era += 1);
    let runs = async || (status(&keeper, &request).await == Some(Status::Running)).then_some(());
    until("it runs, as its log says", runs).await;
}

/// Interleaving 6: nothing but the log knows of the signal.
#[tokio::test]
async fn a_signal_that_was_appended_while_the_keeper_was_away_is_said() {
    let world = World::shared();
    let folder = tempfile::tempdir().unwrap();
    let keeper = world.keeper_with(in_file(&world, folder.path())).await;
    let mut request = world.accept().await;
    request.claim(world.alive).await;
    request.sleep_until(Some(9_999_999_999_999_999)).await;
    assert!(status(&keeper, &request).await.is_some());
    keeper.stop().await;
    drop(keeper);
    while world.hint_now().await.is_some() {}
    request.signal().await;
    let _keeper = world.keeper_with(in_file(&world, folder.path())).await;
    world.hint_is(&request, Why::Appended).await;
}

#[tokio::test]
async fn an_index_that_is_deleted_under_a_running_keeper_is_rebuilt() {
    let world = World::shared();
    let folder = tempfile::tempdir().unwrap();
    let options = in_file(&world, folder.path());
    let keeper = world.keeper_with(options).await;
    let mut requests = Vec::new();
    for _ in 0..20 {
        let mut request = world.accept().await;
        request.claim(world.alive).await;
        request.succeed().await;
        requests.push(request);
    }
    until("all are there", async || {
        (keeper.counts().settled == 20).then_some(())
    })
    .await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let rebuilt = async || folder.path().join("keeper.db").exists().then_some(());
    until("it is made anew", rebuilt).await;
    let there = async || {
        let first = status(&keeper, &requests[0]).await;
        (keeper.counts().settled == 20 && first == Some(Status::Succeeded)).then_some(())
    };
    until("all are there again", there).await;
    let request = world.accept().await;
    until("it goes on", async || status(&keeper, &request).await).await;
}

#[tokio::test]
async fn an_index_that_was_taken_for_something_else_is_rebuilt_at_the_start() {
    let world = World::shared();
    let folder = tempfile::tempdir().unwrap();
    let request = world.accept().await;
    std::fs::write(folder.path().join("keeper.db"), vec![0xA5; 9_000]).unwrap();
    let keeper = world.keeper_with(in_file(&world, folder.path())).await;
    assert_eq!(status(&keeper, &request).await, Some(Status::Running));
}

#[tokio::test]
async fn a_log_whose_head_expired_is_still_looked_after() {
    let world = World::shared();
    let mut request = world.accept().await;
    let first = request.seq;
    request.claim(world.alive).await;
    request.sleep_until(Some(world.wall_us())).await;
    world.log.expire_to(first);
    let keeper = world.keeper().await;
    world.hint_is(&request, Why::Due).await;
    let summary = summary(&keeper, &request).await.unwrap();
    assert_eq!(
        (summary.flow.as_str(), summary.version.as_str()),
        ("unknown", "")
    );
}

#[tokio::test]
async fn it_is_not_ready_while_it_is_not_connected() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/_/ready", listener.local_addr().unwrap());
    let router = keeper.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let code = async || reqwest::get(&url).await.unwrap().status().as_u16();
    assert_eq!(code().await, 200);
    let since = tokio::time::Instant::now();
    world.link.send_replace(Link {
        era: 1,
        is_up: false,
        since,
    });
    assert_eq!(code().await, 503);
    drop::<Keeper>(keeper);
}
