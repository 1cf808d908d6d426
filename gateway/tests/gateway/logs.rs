//! `/system/logs`.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use turlough_gateway::GatewayConfig;

use crate::harness::*;

async fn lines(gateway: &TestGateway, query: &str) -> Vec<Value> {
    let answer = gateway.get(&format!("/system/logs?name=it{query}")).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines = answer.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect()
}

async fn all(gateway: &TestGateway, last: &str) -> Vec<Value> {
    eventually(|| async {
        let found = lines(gateway, "").await;
        (texts(&found).last() == Some(&last)).then_some(found)
    })
    .await
}

#[tokio::test]
async fn lines_are_told_by_their_number_time_and_replica() {
    let folder = tempfile::tempdir().unwrap();
    let with_files = GatewayConfig {
        log_dir: Some(folder.path().to_owned()),
        ..config()
    };
    // In memory are the last thousand, in files all of them.
    for (config, held) in [(config(), 1000), (with_files, 3001)] {
        let gateway = TestGateway::with_stack(config, &python("talkative")).await;
        let found = all(&gateway, "line 2999").await;
        assert_eq!(found.len(), held);
        let line = found.last().unwrap();
        let pid = gateway.about("it").await["pid"].clone();
        assert_eq!(line["instance"], format!("it-{pid}"));
        assert_eq!(
            (&line["name"], &line["namespace"]),
            (&"it".into(), &"openfaas-fn".into())
        );
        let at: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        let two = lines(&gateway, "&tail=2").await;
        assert_eq!(texts(&two), ["line 2998", "line 2999"]);
        assert_eq!(lines(&gateway, "&tail=-1").await.len(), held);
        assert_eq!(lines(&gateway, "&tail=0").await.len(), 0);
        assert_eq!(lines(&gateway, "&instance=it-1").await.len(), 0);
        assert_eq!(
            lines(&gateway, &format!("&instance=it-{pid}")).await.len(),
            held
        );
        let since = |at: jiff::Timestamp| format!("&since={at}");
        let later = at + jiff::SignedDuration::from_secs(1);
        assert_eq!(lines(&gateway, &since(later)).await.len(), 0);
        let before = at - jiff::SignedDuration::from_secs(600);
        assert_eq!(lines(&gateway, &since(before)).await.len(), held);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn who_follows_has_each_line_once_and_in_order() {
    let gateway = TestGateway::with_stack(config(), &python("")).await;
    let post = |size: usize| {
        let request = Request::post("/function/it").body(Full::from("x".repeat(size)));
        gateway.call(request.unwrap())
    };
    post(1).await;
    let heard = |it: &Value| it["text"].as_str().unwrap().starts_with("heard");
    eventually(|| async { lines(&gateway, "").await.iter().any(heard).then_some(()) }).await;
    let request = Request::get("/system/logs?name=it&follow=true&tail=1").body(Full::default());
    let mut response = send(gateway.address, request.unwrap()).await;
    let writing = async {
        for size in 2..=20 {
            post(size).await;
        }
    };
    let reading = async {
        let mut text = String::new();
        while text.lines().count() < 20 {
            let frame = within(response.body_mut().frame()).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        text
    };
    let ((), text) = tokio::join!(writing, reading);
    let found: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected: Vec<String> = (1..=20).map(|size| format!("heard {size} bytes")).collect();
    assert_eq!(texts(&found), expected);
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_and_what_is_not_there_is_said() {
    let gateway = TestGateway::start().await;
    for query in [
        "name=",
        "name=../x",
        "name=it&since=now",
        "name=it&tail=many",
    ] {
        let answer = gateway.get(&format!("/system/logs?{query}")).await;
        assert_eq!(answer.status, http::StatusCode::BAD_REQUEST, "{query}");
    }
    let found = lines(&gateway, "&follow=true").await;
    assert_eq!(texts(&found), ["function `it` is not deployed"]);
    gateway.stop().await;
}

#[tokio::test]
async fn readers_past_their_number_are_told_to_come_back() {
    let gateway = TestGateway::with_stack(config(), &python("")).await;
    let follow = || {
        let path = "/system/logs?name=it&follow=true";
        send(
            gateway.address,
            Request::get(path).body(Full::default()).unwrap(),
        )
    };
    let mut readers = Vec::new();
    let refused = loop {
        let answer = follow().await;
        if answer.status() != 200 {
            break answer;
        }
        readers.push(answer);
        assert!(readers.len() < 1000);
    };
    assert_eq!(
        (refused.status(), readers.len()),
        (StatusCode::SERVICE_UNAVAILABLE, 16)
    );
    assert_eq!(refused.headers()["retry-after"], "1");
    drop(readers);
    let again = || async { (follow().await.status() == 200).then_some(()) };
    eventually(again).await;
    gateway.stop().await;
}

#[tokio::test]
async fn no_more_of_the_last_lines_are_told_than_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let more = "      turlough.mode: fork\n";
    let stack = stack_of("sh -c 'seq 10100 >&2'", more);
    let gateway = TestGateway::with_stack(
        GatewayConfig {
            log_dir: Some(folder.path().to_owned()),
            ..config()
        },
        &stack,
    )
    .await;
    gateway.get("/function/it").await;
    assert_eq!(all(&gateway, "10100").await.len(), 10_100);
    let last = lines(&gateway, "&tail=20000").await;
    assert_eq!((last.len(), texts(&last)[0]), (10_000, "101"));
    gateway.stop().await;
}
