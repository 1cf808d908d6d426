//! The state is not as it must be: the keeper says why, is healthy and not ready, and goes on by itself
//! once that is mended.

use turlough_sdk::RequestId;
use turlough_testing::{Nats, OldNats, Redis, until};
use uuid::Uuid;

use crate::place::{begin, keeper, state};

/// A server with a user who may do less than all.
fn permits(denied: &str) -> String {
    format!(
        "authorization {{ users: [{{ user: some, password: hunter2, permissions: {{ publish: {{ deny: [{denied}] }} }} }}] }}"
    )
}

#[tokio::test]
async fn a_server_that_is_away_and_goes_away_is_waited_for() {
    let mut nats = Nats::start("").await;
    nats.kill();
    let mut keeper = keeper(&nats.url());
    let parts = [
        "waiting for the state",
        &nats.url(),
        "set TURLOUGH_STATE to where it is",
    ];
    keeper.not_ready(&parts).await;
    keeper
        .logged(&["WARN", "the state is away", &nats.url()])
        .await;
    keeper.get("/requests").await.unwrap().assert_is_a_wait();
    nats.start_again().await;
    keeper.ready().await;
    nats.kill();
    keeper
        .not_ready(&["the connection to the state is lost"])
        .await;
    keeper.logged(&["WARN", "logs cannot be followed"]).await;
    nats.start_again().await;
    keeper.ready().await;
    keeper.signal("TERM");
    assert!(keeper.ended().await.success());
}

#[tokio::test]
async fn a_server_that_is_too_old_is_waited_for_until_it_is_replaced() {
    let old = OldNats::start("2.10.27").await;
    let keeper = keeper(&format!("nats://127.0.0.1:{}", old.port()));
    keeper
        .not_ready(&["2.10.27", "needed is 2.11 or newer; replace it"])
        .await;
    keeper.logged(&["ERROR", "2.10.27", "replace it"]).await;
    let port = old.port();
    old.stop().await;
    let _nats = Nats::start_on(port).await;
    keeper.ready().await;
}

#[tokio::test]
async fn a_server_without_jetstream_is_waited_for_until_it_has_it() {
    let mut nats = Nats::start_bare("").await;
    let keeper = keeper(&nats.url());
    keeper
        .not_ready(&["nobody answers for JetStream", "-js"])
        .await;
    keeper
        .logged(&["ERROR", "nobody answers for JetStream"])
        .await;
    nats.kill();
    nats.configure("");
    nats.start_again().await;
    keeper.ready().await;
}

#[tokio::test]
async fn a_stream_that_is_set_otherwise_is_named() {
    let nats = Nats::start("").await;
    let create = "$JS.API.STREAM.CREATE.TL_default_LOG";
    let other = r#"{"name": "TL_default_LOG", "subjects": ["tl.default.log.*"], "max_msgs": 7}"#;
    nats.ask("", create, other.as_bytes()).await;
    let keeper = keeper(&nats.url());
    keeper
        .not_ready(&["using stream TL_default_LOG", "nats stream edit"])
        .await;
    keeper
        .logged(&["ERROR", "TL_default_LOG", "allow_direct"])
        .await;
    nats.ask("", "$JS.API.STREAM.DELETE.TL_default_LOG", b"")
        .await;
    keeper.ready().await;
}

#[tokio::test]
async fn a_user_who_may_not_is_waited_for_until_it_is_permitted() {
    let nats = Nats::start(&permits("\"$JS.API.STREAM.CREATE.>\"")).await;
    let keeper = keeper(&nats.url().replace("//", "//some:hunter2@"));
    keeper
        .not_ready(&["making stream TL_default_LOG", "permit the user"])
        .await;
    keeper
        .logged(&["ERROR", "TL_default_LOG", "permit the user"])
        .await;
    // It makes what it reads by.
    nats.reload(&permits("\"$JS.API.CONSUMER.CREATE.>\"")).await;
    keeper
        .not_ready(&["following the logs", "permit the user"])
        .await;
    keeper
        .logged(&["ERROR", "logs cannot be followed", "permit the user"])
        .await;
    nats.reload(&permits("")).await;
    keeper.ready().await;
    assert!(!keeper.log().contains("hunter2"), "{}", keeper.log());
}

#[tokio::test]
async fn a_work_queue_that_takes_no_hints_is_told_of_until_it_does() {
    let nats = Nats::start("").await;
    let state = state(&nats).await;
    // Nobody drives it.
    begin(&state).await;
    nats.reload(&permits("\"tl.default.work.>\"")).await;
    let keeper = keeper(&nats.url().replace("//", "//some:hunter2@"));
    keeper.ready().await;
    keeper.not_ready(&["flows", "permit the user"]).await;
    keeper
        .logged(&["WARN", "work queue took no hints", "permit the user"])
        .await;
    nats.reload(&permits("")).await;
    keeper.ready().await;
}

#[tokio::test]
async fn a_redis_that_is_away_or_asks_for_a_password_is_waited_for() {
    let mut redis = Redis::start().await;
    redis.kill();
    let keeper = keeper(&format!("{}?pass=secret", redis.url()));
    keeper
        .not_ready(&["opening the state in redis", "set TURLOUGH_STATE"])
        .await;
    redis.start_again().await;
    redis.command(None, &["CONFIG", "SET", "requirepass", "hunter2"]);
    keeper
        .not_ready(&["check user and password in TURLOUGH_STATE"])
        .await;
    keeper.logged(&["ERROR", "check user and password"]).await;
    redis.command(Some("hunter2"), &["CONFIG", "SET", "requirepass", "secret"]);
    keeper.ready().await;
    redis.kill();
    keeper
        .not_ready(&["the connection to the state is lost"])
        .await;
    assert!(!keeper.log().contains("secret"), "{}", keeper.log());
}

#[tokio::test]
async fn what_is_none_of_ours_in_a_log_is_told_and_passed_over() {
    let nats = Nats::start("").await;
    let keeper = keeper(&nats.url());
    keeper.ready().await;
    let state = state(&nats).await;
    let (first, second) = (begin(&state).await, RequestId::from_uuid(Uuid::now_v7()));
    for foreign in [&b"garbage"[..], b"\x81\xa4name\x01"] {
        for log in [first, second] {
            nats.ask("", &format!("tl.default.log.{log}"), foreign)
                .await;
        }
    }
    let other = begin(&state).await;
    keeper
        .logged(&[
            "ERROR",
            "append cannot be read",
            "it is no append",
            &first.to_string(),
        ])
        .await;
    until("both requests are listed, and nothing else", async || {
        let listed = keeper.get("/requests").await?;
        let list = listed.json["requests"].as_array()?.clone();
        let ids: Vec<_> = list.iter().filter_map(|it| it["id"].as_str()).collect();
        (ids == [other.to_string(), first.to_string()]).then_some(())
    })
    .await;
    assert_eq!(keeper.get("/_/ready").await.unwrap().status, 200);
}
