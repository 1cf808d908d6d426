//! What goes, and what stays.

use std::time::Duration;

use turlough_keeper::{Options, Retention, Status};
use turlough_statestore::{Log as _, Seq, Why};

use crate::world::{World, nothing_more, status, summary, until};

const HOUR_US: u64 = 3_600_000_000;

#[tokio::test]
async fn failed_requests_past_the_bound_are_let_go_the_oldest_first() {
    let world = World::shared();
    let options = Options {
        keep_failed_max: 2,
        ..world.options()
    };
    let keeper = world.keeper_with(options).await;
    let mut failed = Vec::new();
    for place in 0..4 {
        let mut request = world.accept().await;
        request.claim(world.alive).await;
        request
            .fail(Some(world.wall_us() + HOUR_US / 2 + place))
            .await;
        failed.push(request);
    }
    let mut let_go = Vec::new();
    for _ in 0..2 {
        let hint = world.hint().await;
        assert_eq!(hint.why, Why::LetGo);
        let_go.push(hint.request);
    }
    let_go.sort_unstable();
    let mut oldest = vec![failed[0].id, failed[1].id];
    oldest.sort_unstable();
    assert_eq!(let_go, oldest);
    nothing_more(&world).await;
    assert_eq!(
        summary(&keeper, &failed[0]).await.unwrap().kept_until_us,
        None
    );
    assert!(
        summary(&keeper, &failed[3])
            .await
            .unwrap()
            .kept_until_us
            .is_some()
    );
}

#[tokio::test]
async fn settled_requests_past_their_bound_are_deleted_and_open_ones_stay() {
    let world = World::own();
    let options = Options {
        retention: Some(Retention::new(3, u64::MAX)),
        ..world.options()
    };
    let keeper = world.keeper_with(options).await;
    let open = world.accept().await;
    let mut settled = Vec::new();
    for _ in 0..5 {
        let mut request = world.accept().await;
        request.claim(world.alive).await;
        request.succeed().await;
        settled.push(request);
    }
    until("two are deleted", async || {
        (keeper.counts().settled == 3).then_some(())
    })
    .await;
    for (place, request) in settled.iter().enumerate() {
        let left = world.log.read(request.id, Seq::START).await.unwrap();
        assert_eq!(left.is_empty(), place < 2, "{place}");
        assert_eq!(
            status(&keeper, request).await.is_none(),
            place < 2,
            "{place}"
        );
    }
    assert_eq!(status(&keeper, &open).await, Some(Status::Running));
}

#[tokio::test]
async fn rows_whose_logs_expired_go_unless_the_clock_is_wrong() {
    let world = World::shared();
    let options = Options {
        max_age: Duration::from_secs(10_000),
        ..world.options()
    };
    let keeper = world.keeper_with(options).await;
    let mut old = world.accept().await;
    old.claim(world.alive).await;
    old.succeed().await;
    until("it is there", async || status(&keeper, &old).await).await;
    world.clock.jump(20_000_000_000);
    // Twice as long as it takes to look: its log is there, whatever the clock says.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(status(&keeper, &old).await, Some(Status::Succeeded));
    world.log.expire_to(old.seq);
    until("it is gone", async || {
        status(&keeper, &old).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_open_request_whose_log_is_gone_is_lost_and_listed_so() {
    let world = World::shared();
    let options = Options {
        repeat: Duration::from_millis(100),
        ..world.options()
    };
    let keeper = world.keeper_with(options).await;
    let request = world.accept().await;
    world.hint_is(&request, Why::Accepted).await;
    world.log.delete(request.id).await.unwrap();
    let lost = async || (status(&keeper, &request).await == Some(Status::Lost)).then_some(());
    until("it is lost", lost).await;
    let metrics = String::from_utf8(keeper.metrics()).unwrap();
    assert!(
        metrics.contains("turlough_keeper_requests_lost_total{tenant=\"acme\"} 1"),
        "{metrics}"
    );
}
