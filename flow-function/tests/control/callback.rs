//! Who calls `X-Callback-Url` back: one party, whichever way the call came.

use serde_json::json;

use super::keeping;
use super::platform::endpoint::{Endpoint, Received};
use super::platform::{Platform, id_of};

const FLOWS: [&str; 4] = [
    "flow: good\nnodes: { a: { apply: echo } }",
    "flow: bad\nnodes: { a: { apply: refuse } }",
    "flow: later\nnodes: { a: { wait: 1s }, b: { after: [a], pass: '\"late\"' } }",
    "flow: open\nnodes: { a: { wait: { signal: go } } }",
];

/// Calls a flow, by a route of the gateway.
async fn call(
    platform: &Platform,
    (route, flow): (&str, &str),
    headers: &[(&str, &str)],
    to: &Endpoint,
) -> reqwest::Response {
    let url = platform.url.replace("/function/", &format!("/{route}/"));
    let mut call = platform.http.post(format!("{url}/{flow}")).body("7");
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let call = call.header("x-callback-url", format!("{}/done", to.url));
    call.send().await.unwrap()
}

fn told(call: &Received) -> [String; 3] {
    ["x-function-status", "x-function-name", "x-call-id"].map(|name| call.header(name))
}

/// The request that a call began.
async fn request_of(platform: &Platform, call_id: &str) -> String {
    let path = format!("/requests?call_id={call_id}");
    let one = |view: &serde_json::Value| view["requests"].as_array().unwrap().len() == 1;
    let view = platform.until(&path, one).await;
    view["requests"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_party_calls_back_whether_the_caller_waits_or_not() {
    let platform = keeping(&FLOWS).await;
    let ways = [
        ("function", 200, "wait=9"),
        ("function", 202, "respond-async"),
        ("async-function", 202, "wait=9"),
        ("async-function", 202, "respond-async"),
    ];
    for (n, (route, status, prefer)) in ways.into_iter().enumerate() {
        let to = Endpoint::silent().await;
        let call_id = format!("call-{n}");
        let headers = [("prefer", prefer), ("x-call-id", &*call_id)];
        let answer = call(&platform, (route, "good"), &headers, &to).await;
        assert_eq!(answer.status(), status, "{route}");
        let word = to.after(1).await.remove(0);
        assert_eq!(told(&word), ["200", "flows", &*call_id], "{route}");
        assert_eq!((word.json(), &*word.path), (json!(7), "/done"));
        assert!(word.header("x-duration-seconds").parse::<f64>().unwrap() > 0.0);
        assert_eq!(word.header("x-turlough-delivery-id").len(), 32);
        // It is over for the gateway and for the function, and nobody has called a second time.
        let request = request_of(&platform, &call_id).await;
        platform.ended(&request).await;
        if route == "async-function" {
            answered(&platform, &call_id).await;
        }
        assert_eq!(to.received().len(), 1, "{route} {prefer}");
    }
}

/// Waits until the gateway has nothing left to do for a call.
async fn answered(platform: &Platform, call_id: &str) {
    let url = platform.url.replace("/function/", "/async-function/");
    for _ in 0..3_000 {
        let call = platform.http.get(format!("{url}/{call_id}"));
        let view: serde_json::Value = call.send().await.unwrap().json().await.unwrap();
        if view["state"] == "answered" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("call {call_id} was never answered");
}

#[tokio::test]
async fn what_takes_longer_than_a_caller_waits_is_told_by_its_result() {
    let platform = Platform::with(
        FLOWS
            .map(|text| turlough_sdk::read_yaml(text).unwrap())
            .into(),
        |settings| {
            settings.http_allow = "127.0.0.1".parse().unwrap();
            settings.sync_wait = Some(std::time::Duration::from_millis(50));
        },
    )
    .await;
    for route in ["function", "async-function"] {
        let to = Endpoint::silent().await;
        let answer = call(&platform, (route, "later"), &[], &to).await;
        assert_eq!(answer.status(), 202, "{route}");
        let word = to.after(1).await.remove(0);
        assert_eq!(word.header("x-function-status"), "200", "{route}");
        assert_eq!(word.json(), json!("late"), "{route}");
    }
}

#[tokio::test]
async fn a_flow_that_fails_is_told_once_and_not_run_again_by_the_queue() {
    let platform = keeping(&FLOWS).await;
    let to = Endpoint::silent().await;
    call(
        &platform,
        ("async-function", "bad"),
        &[("x-call-id", "bad-1")],
        &to,
    )
    .await;
    let word = to.after(1).await.remove(0);
    assert_eq!(told(&word), ["500", "flows", "bad-1"]);
    assert_eq!(word.json()["error"]["step"], "a");
    answered(&platform, "bad-1").await;
    assert_eq!(platform.calls.of("refuse").len(), 1);
    // What is refused before there is a request, the gateway tells.
    call(
        &platform,
        ("async-function", "none"),
        &[("x-call-id", "none-1")],
        &to,
    )
    .await;
    let word = to.after(2).await.remove(1);
    assert_eq!(told(&word), ["404", "flows", "none-1"]);
    answered(&platform, "none-1").await;
    assert_eq!(to.received().len(), 2);
}

#[tokio::test]
async fn an_address_that_the_function_may_not_call_is_called_by_the_gateway() {
    let platform = Platform::yaml(&FLOWS).await;
    let to = Endpoint::silent().await;
    call(
        &platform,
        ("async-function", "good"),
        &[("x-call-id", "far")],
        &to,
    )
    .await;
    let word = to.after(1).await.remove(0);
    assert_eq!(told(&word), ["200", "flows", "far"]);
    assert_eq!(word.json(), json!(7));
    answered(&platform, "far").await;
    platform.ended(&request_of(&platform, "far").await).await;
    assert_eq!(to.received().len(), 1);
    // One that failed is called once, all the same.
    let headers = [("x-call-id", "wrong")];
    call(&platform, ("async-function", "bad"), &headers, &to).await;
    let word = to.after(2).await.remove(1);
    assert_eq!(told(&word), ["500", "flows", "wrong"]);
    answered(&platform, "wrong").await;
    assert_eq!(platform.calls.of("refuse").len(), 1);
    assert_eq!(to.received().len(), 2);
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_the_same_request() {
    let platform = keeping(&FLOWS).await;
    let to = Endpoint::silent().await;
    let url = format!("{}/open", platform.direct);
    let deliver = |id: &str, call_id: &str, body: &'static str| {
        let call = platform
            .http
            .post(&url)
            .body(body)
            .header("x-call-id", call_id);
        let call = call.header("x-callback-url", format!("{}/done", to.url));
        match id {
            "" => call,
            id => call
                .header("x-turlough-delivery-id", id)
                .header("x-turlough-callback-by", "function"),
        }
    };
    let id = "0123456789abcdef0123456789abcdef";
    let first = deliver(id, "c", "1").send().await.unwrap();
    assert_eq!(
        (
            first.status().as_u16(),
            &first.headers()["x-turlough-callback"]
        ),
        (202, &"taken".parse().unwrap())
    );
    let again = deliver(id, "c", "1").send().await.unwrap();
    assert_eq!(
        (
            again.status().as_u16(),
            &again.headers()["x-turlough-callback"]
        ),
        (202, &"taken".parse().unwrap())
    );
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let (first, again) = (id_of(&first), id_of(&again));
    assert_eq!(first, again);
    let other = deliver("fedcba9876543210fedcba9876543210", "c", "1")
        .send()
        .await
        .unwrap();
    assert_ne!(id_of(&other), first);
    let wrong = deliver("0123", "c", "1").send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    platform.ask(&first, "signals/go", "1").await;
    let word = to.after(1).await.remove(0);
    assert_eq!(word.header("x-turlough-delivery-id"), id);
    platform.ended(&first).await;
    assert_eq!(to.received().len(), 1);
}

#[tokio::test]
async fn a_queue_that_does_not_name_its_deliveries_is_known_by_call_and_input() {
    let platform = keeping(&FLOWS).await;
    let to = Endpoint::silent().await;
    let send = |call_id: &'static str, body: &'static str| {
        let call = platform.http.post(format!("{}/good", platform.direct));
        let call = call.body(body).header("x-call-id", call_id);
        call.header("x-callback-url", format!("{}/done", to.url))
            .send()
    };
    let first = send("c", "1").await.unwrap();
    assert_eq!(first.status(), 200);
    let again = send("c", "1").await.unwrap();
    assert_eq!(id_of(&again), id_of(&first));
    for (call_id, body) in [("c", "2"), ("d", "1")] {
        assert_ne!(id_of(&send(call_id, body).await.unwrap()), id_of(&first));
    }
    // That queue calls back by itself.
    platform.ended(&id_of(&first)).await;
    assert_eq!(to.received().len(), 0);
}

#[tokio::test]
async fn nobody_but_the_gateway_says_what_the_gateway_says() {
    let platform = keeping(&FLOWS).await;
    let to = Endpoint::silent().await;
    let claims = [
        ("x-turlough-delivery-id", "0123456789abcdef0123456789abcdef"),
        ("x-turlough-callback-by", "function"),
    ];
    // It would be 202, and the same request.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let call = platform
            .http
            .post(format!("{}/good", platform.url))
            .body("1");
        let call = claims
            .iter()
            .fold(call, |call, (name, value)| call.header(*name, *value));
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        ids.push(id_of(&answer));
    }
    assert_ne!(ids[0], ids[1]);
    for _ in 0..2 {
        call(&platform, ("async-function", "good"), &claims, &to).await;
    }
    let words = to.after(2).await;
    let id = |n: usize| words[n].header("x-turlough-delivery-id");
    assert!(id(0) != id(1) && id(0) != claims[0].1);
}
