//! The state is not there, or not fit, when the process begins.

use serde_json::Value as Json;
use turlough_testing::{Nats, OldNats};

use super::place::{Place, refuses, serves};

/// A server with a user who may do less than all.
fn permits(denied: &str) -> String {
    format!(
        r#"authorization {{ users: [
            {{ user: all, password: x }}
            {{ user: some, password: hunter2, permissions: {{ publish: {{ deny: [{denied}] }} }} }}
        ] }}"#
    )
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let mut nats = Nats::start("").await;
    nats.kill();
    let place = Place::new().await;
    let mut program = place.program(&nats.url(), &[]);
    let parts = [
        "waiting for the state: connecting to the state at ",
        &nats.url(),
        "set TURLOUGH_STATE to where it is",
    ];
    program.not_ready(&parts).await;
    program
        .logged(&["WARN", "the state is away", &nats.url()])
        .await;
    refuses(&program, "waiting for the state").await;
    assert!(program.runs());
    nats.start_again().await;
    serves(&program).await;
    program.logged(&["INFO", "the state is there"]).await;
}

#[tokio::test]
async fn a_server_that_is_too_old_is_waited_for_until_it_is_replaced() {
    let old = OldNats::start("2.10.27").await;
    let place = Place::new().await;
    let url = format!("nats://127.0.0.1:{}", old.port());
    let mut asked_to_end = place.program(&url, &[]);
    let program = place.program(&url, &[]);
    let parts = ["2.10.27", "needed is 2.11 or newer; replace it"];
    program.not_ready(&parts).await;
    program.logged(&["ERROR", "2.10.27", "replace it"]).await;
    // Who waits ends when it is asked to.
    asked_to_end.not_ready(&parts).await;
    asked_to_end.signal("TERM");
    assert!(asked_to_end.ended().await.success());
    let port = old.port();
    old.stop().await;
    let _nats = Nats::start_on(port).await;
    serves(&program).await;
}

#[tokio::test]
async fn a_server_without_jetstream_is_waited_for_until_it_has_it() {
    let mut nats = Nats::start_bare("").await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[]);
    let parts = ["nobody answers for JetStream", "start nats-server with -js"];
    program.not_ready(&parts).await;
    program.logged(&["ERROR", parts[0], parts[1]]).await;
    refuses(&program, parts[0]).await;
    nats.kill();
    nats.configure("");
    nats.start_again().await;
    serves(&program).await;
}

#[tokio::test]
async fn a_stream_that_is_set_otherwise_is_named_and_left_as_it_is() {
    let nats = Nats::start("").await;
    let create = "$JS.API.STREAM.CREATE.TL_default_LOG";
    let other = r#"{"name": "TL_default_LOG", "subjects": ["tl.default.log.*"], "max_msgs": 7}"#;
    nats.ask("", create, other.as_bytes()).await;
    let place = Place::new().await;
    let program = place.program(&nats.url(), &[]);
    let parts = [
        "using stream TL_default_LOG",
        "its allow_direct is false, expected true",
        "change it with `nats stream edit`",
    ];
    program.not_ready(&parts).await;
    program
        .logged(&["ERROR", "TL_default_LOG", "allow_direct"])
        .await;
    refuses(&program, "TL_default_LOG").await;
    // It is as it was, and nothing was made beside it.
    let names = nats.ask("", "$JS.API.STREAM.NAMES", b"").await;
    let names: Json = serde_json::from_str(&names).unwrap();
    assert_eq!(names["streams"], serde_json::json!(["TL_default_LOG"]));
    let info = nats
        .ask("", "$JS.API.STREAM.INFO.TL_default_LOG", b"")
        .await;
    let info: Json = serde_json::from_str(&info).unwrap();
    assert_eq!(info["config"]["max_msgs"], 7, "{info}");
    nats.ask("", "$JS.API.STREAM.DELETE.TL_default_LOG", b"")
        .await;
    serves(&program).await;
}

#[tokio::test]
async fn a_user_who_may_not_is_waited_for_until_it_is_permitted() {
    let nats = Nats::start(&permits("\"$JS.API.STREAM.CREATE.>\"")).await;
    let url = nats.url().replace("//", "//some:hunter2@");
    let place = Place::new().await;
    let program = place.program(&url, &[]);
    let parts = [
        "making stream TL_default_LOG",
        "STREAM.CREATE",
        "permit the user",
    ];
    program.not_ready(&parts).await;
    program
        .logged(&["ERROR", "TL_default_LOG", "permit the user"])
        .await;
    nats.reload(&permits("\"tl.default.log.>\"")).await;
    program
        .not_ready(&["append", "tl.default.log.", "permit the user"])
        .await;
    refuses(&program, "tl.default.log.").await;
    nats.reload(&permits("")).await;
    serves(&program).await;
    assert!(!program.log().contains("hunter2"), "{}", program.log());
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_shown() {
    let nats = Nats::start(&permits("")).await;
    let url = nats.url().replace("//", "//some:secret@");
    let place = Place::new().await;
    let program = place.program(&url, &[]);
    program
        .not_ready(&[
            "authorization violation",
            "check the address, the credentials",
        ])
        .await;
    program.logged(&["ERROR", "authorization violation"]).await;
    nats.reload(&permits("").replace("hunter2", "secret")).await;
    serves(&program).await;
    assert!(!program.log().contains("secret"), "{}", program.log());
}

#[tokio::test]
async fn an_address_that_is_none_ends_the_process() {
    let place = Place::new().await;
    for (url, says) in [
        ("nats://:", "write nats://host:port"),
        ("http://127.0.0.1", "is not known; write memory:"),
    ] {
        let mut program = place.program(url, &[]);
        assert!(!program.ended().await.success());
        program.logged(&["error", says]).await;
    }
}
