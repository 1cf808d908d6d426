//! Each duty: what is due is said, to whom it concerns, once.

use std::time::Duration;

use turlough_keeper::Options;
use turlough_statestore::event::Outcome;
use turlough_statestore::{Channel, Link, Why, Word};

use crate::world::{HEARTBEAT, World, nothing_more, replica};

const HOUR_US: u64 = 3_600_000_000;

#[tokio::test]
async fn a_request_that_nobody_claims_is_hinted_at_once() {
    let world = World::shared();
    let _keeper = world.keeper().await;
    let request = world.accept().await;
    world.hint_is(&request, Why::Accepted).await;
    nothing_more(&world).await;
}

#[tokio::test]
async fn a_sleeping_request_is_hinted_at_when_its_time_comes_and_not_before() {
    let world = World::shared();
    let _keeper = world.keeper().await;
    let mut request = world.accept().await;
    request.claim(world.alive).await;
    request
        .sleep_until(Some(world.wall_us() + HOUR_US / 2))
        .await;
    nothing_more(&world).await;
    world.clock.jump(HOUR_US as i64 / 2);
    world.hint_is(&request, Why::Due).await;
}

#[tokio::test]
async fn what_is_due_is_said_again_after_the_interval_until_an_append_settles_it() {
    let world = World::shared();
    let options = Options {
        repeat: Duration::from_millis(400),
        ..world.options()
    };
    let _keeper = world.keeper_with(options).await;
    let mut request = world.accept().await;
    request.claim(world.alive).await;
    request.sleep_until(Some(world.wall_us())).await;
    world.hint_is(&request, Why::Due).await;
    let said = tokio::time::Instant::now();
    world.hint_is(&request, Why::Due).await;
    assert!(
        said.elapsed() >= Duration::from_millis(300),
        "{:?}",
        said.elapsed()
    );
    request.claim(world.alive).await;
    request
        .sleep_until(Some(world.wall_us() + HOUR_US / 2))
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    while let Some(hint) = world.hint_now().await {
        assert_eq!(hint.why, Why::Due, "said before the claim was seen");
    }
    nothing_more(&world).await;
}

#[tokio::test]
async fn past_its_deadline_a_live_replica_is_urged_or_the_queue_is_told() {
    let world = World::shared();
    let _keeper = world.keeper().await;
    let mut request = world.accept().await;
    request.claim(world.alive).await;
    request.sleep_until(None).await;
    world.clock.jump(HOUR_US as i64 + 1_000_000);
    world.hint_is(&request, Why::Due).await;

    let mut replica = world.replica().await;
    let mut other = world.accept().await;
    other.claim(replica.id).await;
    tokio::time::sleep(HEARTBEAT).await;
    world.clock.jump(HOUR_US as i64 + 1_000_000);
    let urged = replica.word().await;
    assert_eq!(urged, Word::Urge { request: other.id });
}

#[tokio::test]
async fn a_signal_whose_sender_died_before_its_word_reaches_a_driver() {
    let world = World::shared();
    let _keeper = world.keeper().await;
    let mut replica = world.replica().await;
    tokio::time::sleep(HEARTBEAT).await;
    let mut sleeping = world.accept().await;
    sleeping.claim(replica.id).await;
    sleeping
        .sleep_until(Some(world.wall_us() + HOUR_US / 2))
        .await;
    sleeping.signal().await;
    world.hint_is(&sleeping, Why::Appended).await;

    let mut held = world.accept().await;
    held.claim(replica.id).await;
    held.signal().await;
    assert_eq!(replica.word().await, Word::Poke { request: held.id });
    nothing_more(&world).await;
}

#[tokio::test]
async fn a_signal_that_its_driver_answers_is_not_said() {
    let world = World::shared();
    let options = Options {
        grace: Duration::from_millis(500),
        ..world.options()
    };
    let _keeper = world.keeper_with(options).await;
    let mut replica = world.replica().await;
    let mut request = world.accept().await;
    request.claim(replica.id).await;
    request.signal().await;
    request.go_on().await;
    nothing_more(&world).await;
    let word = tokio::time::timeout(Duration::ZERO, replica.words.next()).await;
    assert!(word.is_err(), "{word:?}");
}

#[tokio::test]
async fn the_requests_of_a_replica_that_died_are_handed_on_with_the_claim_that_is_void() {
    let world = World::shared();
    let _keeper = world.keeper().await;
    let replica = world.replica().await;
    let mut request = world.accept().await;
    let claim = request.claim(replica.id).await;
    request.go_on().await;
    tokio::time::sleep(HEARTBEAT).await;
    assert_eq!(world.hint_now().await, None);
    replica.die();
    let hint = world.hint_is(&request, Why::ClaimantGone).await;
    assert_eq!(hint.condemned, Some(claim));
    nothing_more(&world).await;
}

#[tokio::test]
async fn an_ended_request_whose_claimant_died_is_handed_on_too() {
    let world = World::own();
    let _keeper = world.keeper().await;
    let mut request = world.accept().await;
    request.claim(replica()).await;
    let ended = request.ended(Outcome::TimedOut);
    request
        .append(turlough_statestore::Kind::Driver, vec![ended], None)
        .await;
    world.hint_is(&request, Why::ClaimantGone).await;
}

#[tokio::test]
async fn nobody_is_dead_by_a_heartbeat_before_our_connection_stood_for_its_lifetime() {
    let world = World::shared();
    let keeper = world.keeper().await;
    // The server was away, and the heartbeats with it.
    let up = |era: u64, since| Link {
        era,
        is_up: true,
        since,
    };
    let later = tokio::time::Instant::now() + Duration::from_secs(3_600);
    world.link.send_replace(up(2, later));
    keeper.caught_up().await;
    let mut request = world.accept().await;
    let claim = request.claim(replica()).await;
    tokio::time::sleep(HEARTBEAT * 3).await;
    assert_eq!(world.hint_now().await, None);
    world.link.send_replace(up(2, tokio::time::Instant::now()));
    let again = tokio::time::Instant::now();
    let hint = world.hint_is(&request, Why::ClaimantGone).await;
    assert_eq!(hint.condemned, Some(claim));
    assert!(again.elapsed() >= HEARTBEAT, "{:?}", again.elapsed());
}

#[tokio::test]
async fn where_the_state_is_of_one_process_every_other_claimant_is_dead_at_once() {
    let world = World::own();
    let options = world.options();
    let own = options.replica;
    let _keeper = world.keeper_with(options).await;
    let mut mine = world.accept().await;
    mine.claim(own).await;
    let mut other = world.accept().await;
    other.claim(replica()).await;
    world.hint_is(&other, Why::ClaimantGone).await;
    nothing_more(&world).await;
}

#[tokio::test]
async fn a_silent_claimant_is_asked_and_dead_where_it_drives_something_else() {
    let world = World::shared();
    let options = Options {
        silent: Duration::from_millis(300),
        ..world.options()
    };
    let _keeper = world.keeper_with(options).await;
    let mut replica = world.replica().await;
    tokio::time::sleep(HEARTBEAT).await;
    let (mut driven, mut forgotten) = (world.accept().await, world.accept().await);
    driven.claim(replica.id).await;
    let claim = forgotten.claim(replica.id).await;
    let mut asked = Vec::new();
    while !asked.contains(&forgotten.id) {
        let Word::Ask {
            question,
            asker,
            requests,
        } = replica.word().await
        else {
            panic!("only questions are due");
        };
        asked.extend(&requests);
        let answer = Word::Answer {
            question,
            replica: replica.id,
            driven: vec![driven.id],
        };
        let to = Channel::Replica(asker);
        world.state.bus.send(to, answer.encode()).await.unwrap();
    }
    let hint = world.hint_is(&forgotten, Why::ClaimantGone).await;
    assert_eq!(hint.condemned, Some(claim));
    nothing_more(&world).await;
}

#[tokio::test]
async fn a_claimant_that_leaves_two_questions_unanswered_is_dead() {
    let world = World::shared();
    let options = Options {
        silent: Duration::from_millis(200),
        ..world.options()
    };
    let _keeper = world.keeper_with(options).await;
    let mut replica = world.replica().await;
    tokio::time::sleep(HEARTBEAT).await;
    let mut request = world.accept().await;
    request.claim(replica.id).await;
    let first = replica.word().await;
    assert!(matches!(first, Word::Ask { .. }), "{first:?}");
    assert_eq!(world.hint_now().await, None);
    let second = replica.word().await;
    assert!(matches!(second, Word::Ask { .. }), "{second:?}");
    assert_eq!(world.hint_now().await, None, "it may still answer");
    world.hint_is(&request, Why::ClaimantGone).await;
}

#[tokio::test]
async fn half_an_age_after_the_last_snapshot_another_is_due() {
    let world = World::shared();
    let options = Options {
        max_age: Duration::from_secs(1_000),
        ..world.options()
    };
    let _keeper = world.keeper_with(options).await;
    let mut replica = world.replica().await;
    let (mut held, mut sleeping) = (world.accept().await, world.accept().await);
    held.claim(replica.id).await;
    sleeping.claim(replica.id).await;
    sleeping
        .sleep_until(Some(world.wall_us() + HOUR_US / 2))
        .await;
    world.clock.jump(400_000_000);
    held.snapshot().await;
    tokio::time::sleep(HEARTBEAT).await;
    world.clock.jump(150_000_000);
    world.hint_is(&sleeping, Why::Snapshot).await;
    let word = tokio::time::timeout(Duration::ZERO, replica.words.next()).await;
    assert!(word.is_err(), "the other has a younger one: {word:?}");
    world.clock.jump(400_000_000);
    assert_eq!(replica.word().await, Word::Poke { request: held.id });
}

#[tokio::test]
async fn a_failed_request_is_settled_when_its_time_is_over_or_it_was_released_without_one() {
    let world = World::shared();
    let _keeper = world.keeper().await;
    let mut kept = world.accept().await;
    kept.claim(world.alive).await;
    kept.fail(Some(world.wall_us() + HOUR_US / 2)).await;
    let mut left = world.accept().await;
    left.claim(world.alive).await;
    left.fail(None).await;
    world.hint_is(&left, Why::Due).await;
    world.clock.jump(HOUR_US as i64 / 2);
    world.hint_is(&kept, Why::Due).await;
}

#[tokio::test]
async fn a_function_without_a_replica_is_woken_through_the_gateway() {
    let world = World::shared();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (called, mut calls) = tokio::sync::mpsc::channel(8);
    let answer = move |request: axum::extract::Request| {
        let called = called.clone();
        async move { called.send(request.uri().path().to_owned()).await.unwrap() }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    let options = Options {
        gateway_url: Some(url),
        ..world.options()
    };
    let _keeper = world.keeper_with(options).await;
    let request = world.accept().await;
    assert_eq!(calls.recv().await.unwrap(), "/function/flows/_/health");
    world.hint_is(&request, Why::Accepted).await;
    for _ in 0..2 {
        let other = world.accept().await;
        world.hint_is(&other, Why::Accepted).await;
    }
    assert!(calls.try_recv().is_err(), "it was called a moment ago");
}
