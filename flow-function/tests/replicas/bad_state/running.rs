//! The state goes away, or does not permit any more what it did, while requests run.

use turlough_testing::Nats;

use super::place::{Place, refuses, serves};

#[tokio::test]
async fn requests_outlast_a_server_that_goes_away() {
    let mut nats = Nats::start("").await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[]);
    serves(&program).await;
    let call = program.call("held", "5");
    let asks = program.begin("asks", "1").await;
    place.held(1).await;
    nats.kill();
    program
        .not_ready(&["the connection to the state at", &nats.url(), "is lost"])
        .await;
    refuses(
        &program,
        "request could not be recorded: the state does not answer",
    )
    .await;
    let path = format!("/requests/{asks}");
    let read = program.get(&path).await.unwrap();
    read.assert_is_a_wait();
    assert!(read.detail().contains("cannot be read now"), "{read:?}");
    let asked = program.post(&format!("{path}/signals/go"), "1").await;
    asked.assert_is_a_wait();
    place.let_go();
    program
        .logged(&["WARN", "append was not stored yet; it is tried again"])
        .await;
    assert!(!call.is_finished());
    nats.start_again().await;
    serves(&program).await;
    place.answers_once(call).await;
    let asked = program.post(&format!("{path}/signals/go"), "1").await;
    assert!(asked.status < 300, "{asked:?}");
}

/// A server with a user who may do less than all.
fn permits(denied: &str) -> String {
    format!(
        "authorization {{ users: [{{ user: some, password: x, permissions: {{ publish: {{ deny: [{denied}] }} }} }}] }}"
    )
}

#[tokio::test]
async fn requests_outlast_permissions_that_are_taken_away() {
    let nats = Nats::start(&permits("")).await;
    let place = Place::new().await;
    let program = place.program(&nats.url().replace("//", "//some:x@"), &[]);
    serves(&program).await;
    let call = program.call("held", "5");
    place.held(1).await;
    nats.reload(&permits("\"tl.default.log.>\"")).await;
    place.let_go();
    program
        .not_ready(&["append", "tl.default.log.", "permit the user"])
        .await;
    program
        .logged(&[
            "ERROR",
            "this replica is not ready, and waits",
            "permit the user",
        ])
        .await;
    refuses(
        &program,
        "request could not be recorded: the state does not permit it",
    )
    .await;
    assert!(!call.is_finished());
    nats.reload(&permits("")).await;
    serves(&program).await;
    place.answers_once(call).await;
}
