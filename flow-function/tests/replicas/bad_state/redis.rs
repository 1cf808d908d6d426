//! The same with a Redis.

use turlough_testing::Redis;

use super::place::{Place, refuses, serves};

#[tokio::test]
async fn a_redis_that_is_away_and_goes_away_is_waited_for() {
    let mut redis = Redis::start().await;
    redis.kill();
    let place = Place::new().await;
    let program = place.program(&redis.url(), &[]);
    let parts = [
        "waiting for the state: opening the state in redis at",
        "redis.sock",
        "set TURLOUGH_STATE to where it is",
    ];
    program.not_ready(&parts).await;
    program
        .logged(&["WARN", "the state is away", "redis.sock"])
        .await;
    refuses(&program, parts[0]).await;
    redis.start_again().await;
    serves(&program).await;
    let call = program.call("held", "5");
    place.held(1).await;
    redis.kill();
    program
        .not_ready(&["the connection to the state at redis+unix://", "is lost"])
        .await;
    refuses(
        &program,
        "request could not be recorded: the state does not answer",
    )
    .await;
    place.let_go();
    program
        .logged(&["WARN", "append was not stored yet; it is tried again"])
        .await;
    redis.start_again().await;
    serves(&program).await;
    place.answers_once(call).await;
}

#[tokio::test]
async fn a_wrong_password_of_redis_is_named_and_never_shown() {
    let redis = Redis::start().await;
    redis.command(None, &["CONFIG", "SET", "requirepass", "hunter2"]);
    let place = Place::new().await;
    let program = place.program(&format!("{}?pass=secret", redis.url()), &[]);
    let parts = [
        "opening the state in redis at",
        "check user and password in TURLOUGH_STATE",
    ];
    program.not_ready(&parts).await;
    program.logged(&["ERROR", parts[0], parts[1]]).await;
    redis.command(Some("hunter2"), &["CONFIG", "SET", "requirepass", "secret"]);
    serves(&program).await;
    assert!(!program.log().contains("secret"), "{}", program.log());
}

#[tokio::test]
async fn requests_outlast_a_redis_without_memory() {
    let redis = Redis::start().await;
    let place = Place::new().await;
    let program = place.program(&redis.url(), &[]);
    serves(&program).await;
    let call = program.call("held", "5");
    place.held(1).await;
    redis.command(None, &["CONFIG", "SET", "maxmemory", "1"]);
    refuses(
        &program,
        "request could not be recorded: the state has no room",
    )
    .await;
    place.let_go();
    program
        .logged(&[
            "append was not stored yet",
            "no room",
            "raise its maxmemory",
        ])
        .await;
    program.not_ready(&["no room", "raise its maxmemory"]).await;
    assert!(!call.is_finished());
    redis.command(None, &["CONFIG", "SET", "maxmemory", "0"]);
    serves(&program).await;
    place.answers_once(call).await;
}
