//! The wall clock of a replica is set while requests run: what waits for a time comes as much too early
//! or too late; nobody is taken for dead, and nothing is made again.

use turlough_testing::{Nats, Program, WallClock, until};

use super::logs::let_go;
use super::place::{BYTES_MAX, Place, serves, state};
use crate::cluster::keeper;

const HOUR_S: i64 = 3_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_brings_forward_what_waits_for_a_time_and_nothing_else() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let clock = WallClock::new();
    let program = place.program_by(&nats.url(), &clock);
    serves(&program).await;
    let state = state(&nats.url(), BYTES_MAX).await;
    let _keeper = keeper(&state).await;
    let call = program.call("held", "5");
    place.held(1).await;
    let sleeps = program.begin("sleeps", "5").await;
    let_go(&state, &sleeps).await;
    clock.set(HOUR_S);
    program
        .logged(&["WARN", "the wall clock jumped ahead", "by_s=3600"])
        .await;
    // The keeper goes by its own clock: it is the replica that sees what is due, once it looks.
    program
        .post(&format!("/requests/{sleeps}/signals/any"), "1")
        .await;
    ends(&program, &sleeps).await;
    serves(&program).await;
    assert!(!call.is_finished());
    place.let_go();
    place.answers_once(call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_back_puts_off_what_waits_for_a_time_until_it_is_right_again() {
    let nats = Nats::start("").await;
    let place = Place::new().await;
    let clock = WallClock::new();
    let program = place.program_by(&nats.url(), &clock);
    serves(&program).await;
    let state = state(&nats.url(), BYTES_MAX).await;
    let _keeper = keeper(&state).await;
    let call = program.call("held", "5");
    place.held(1).await;
    let before = program.begin("naps", "5").await;
    let_go(&state, &before).await;
    let put_off = state.log.last(before.parse().unwrap()).await.unwrap();
    clock.set(-HOUR_S);
    program
        .logged(&["WARN", "the wall clock jumped back", "by_s=-3600"])
        .await;
    // What begins now goes by the clock as it is.
    let after = program.begin("naps", "5").await;
    ends(&program, &after).await;
    let answer = program.get(&format!("/requests/{before}/result")).await;
    assert_eq!(answer.unwrap().status, 202);
    // However often the keeper says that it is due, nothing is written.
    let last = state.log.last(before.parse().unwrap()).await.unwrap();
    assert_eq!(last.map(|it| it.seq), put_off.map(|it| it.seq));
    clock.set(0);
    ends(&program, &before).await;
    assert!(!call.is_finished());
    place.let_go();
    place.answers_once(call).await;
}

/// Waits until a request on 5 came to its result.
async fn ends(program: &Program, id: &str) {
    let answer = until("it ends", async || {
        let answer = program.get(&format!("/requests/{id}/result")).await?;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(
        (answer.status, &answer.json),
        (200, &6.into()),
        "{answer:?}"
    );
}
