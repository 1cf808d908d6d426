//! Callbacks that are late, repeated, forged, too large, or say that the function failed.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use turlough_sdk::read_yaml;

use super::platform::endpoint::{Endpoint, call_back};
use super::platform::{Platform, soon, step};
use super::{OPEN, asleep, at, outward, token, view};

#[tokio::test]
async fn a_repeated_callback_is_refused_and_changes_nothing() {
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(OPEN, &endpoint)]).await;
    let id = platform.begin("/open", "1").await;
    let calls = endpoint.after(1).await;
    assert_eq!(calls[0].call_back("[1]").await, 200);
    let waiting = |view: &Json| step(view, "ask")["status"] == "sleeping";
    platform.until(&format!("/requests/{id}"), waiting).await;
    let before = asleep(&platform, &id).await;
    for (body, status) in [("[1]", None), ("[2]", None), ("", Some("500"))] {
        let url = calls[0].callback();
        assert_eq!(call_back(&url, body, status).await, 409, "{body}");
    }
    assert_eq!(view(&platform, &id).await, before);
    platform.ask(&id, "signals/go", "0").await;
    assert_eq!(platform.result(&id).await, (200, json!([1])));
    let before = platform.ended(&id).await;
    assert_eq!(calls[0].call_back("[3]").await, 409);
    assert_eq!(view(&platform, &id).await, before);
    assert_eq!(endpoint.received().len(), 1);
}

#[tokio::test]
async fn a_lost_callback_is_a_timeout_and_a_new_attempt_with_another_token() {
    let flow = "
flow: lost
nodes:
  work:
    http: URL
    callback: true
    idempotent: true
    timeout: 1s
    retry: { attempts: 2, backoff: 1ms..2ms, on: [timeout] }
";
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(flow, &endpoint)]).await;
    let id = platform.begin("/lost", "1").await;
    let calls = endpoint.after(2).await;
    assert_ne!(calls[0].callback(), calls[1].callback());
    let key = "x-turlough-idempotency-key";
    assert_eq!(calls[0].header(key), calls[1].header(key));
    assert_eq!(calls[1].header("x-turlough-attempt"), "2");
    let late = calls[0].call_back("\"late\"").await;
    assert_eq!(late, 409);
    assert_eq!(calls[1].call_back("\"new\"").await, 200);
    assert_eq!(platform.result(&id).await, (200, json!("new")));

    let id = platform.begin("/lost", "2").await;
    let calls = endpoint.after(4).await;
    let (status, problem) = platform.result(&id).await;
    assert_eq!((status, &problem["cause"]), (500, &json!("timeout")));
    assert_eq!(calls[3].call_back("3").await, 409);
    assert_eq!(platform.ended(&id).await["status"], "failed");
}

/// A token with some of its bytes turned over.
fn altered(url: &str, bytes: std::ops::Range<usize>) -> String {
    let (base, token) = url.rsplit_once('/').unwrap();
    let mut token = URL_SAFE_NO_PAD.decode(token).unwrap();
    let end = bytes.end.min(token.len());
    token[bytes.start..end]
        .iter_mut()
        .for_each(|byte| *byte ^= 1);
    format!("{base}/{}", URL_SAFE_NO_PAD.encode(token))
}

#[tokio::test]
async fn a_forged_callback_is_refused_whatever_part_of_its_token_was_altered() {
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(OPEN, &endpoint)]).await;
    let (one, two) = (
        platform.begin("/open", "1").await,
        platform.begin("/open", "2").await,
    );
    let calls = endpoint.after(2).await;
    let before = (asleep(&platform, &one).await, asleep(&platform, &two).await);
    let url = calls[0].callback();
    let (base, own) = url.rsplit_once('/').unwrap();
    let other = token(&calls[1]);
    // Request, generation, attempt, step, signature: one after the other.
    let parts = [0..1, 15..16, 16..20, 20..24, 24..28, 28..29, 59..60, 0..60];
    let mut forged: Vec<_> = parts.into_iter().map(|part| altered(&url, part)).collect();
    // What one request was given, signed for another.
    let split = 4 * (24 + 4) / 3;
    forged.push(format!("{base}/{}{}", &own[..split], &other[split..]));
    for text in ["x", "AAAA", "%00", &own[1..], &own[..own.len() - 1]] {
        forged.push(format!("{base}/{text}"));
    }
    forged.push(format!("{base}/{own}A"));
    forged.push(format!("{base}/{}", "A".repeat(6_000)));
    for url in forged {
        let found = call_back(&url, "\"forged\"", None).await;
        assert_eq!(found, 403, "{url}");
    }
    let after = (view(&platform, &one).await, view(&platform, &two).await);
    assert_eq!(after, before);
    assert_eq!(call_back(&url, "\"real\"", None).await, 200);
}

#[tokio::test]
async fn a_callback_for_a_request_that_is_elsewhere_or_forgotten_is_refused() {
    let secrets = tempfile::tempdir().unwrap();
    let key = secrets.path().join("turlough-callback-key");
    std::fs::write(key, "a key of the two of them").unwrap();
    let endpoint = Endpoint::silent().await;
    let start = |shares: bool| {
        let flow = read_yaml(&at(OPEN, &endpoint)).unwrap();
        Platform::with(vec![flow], move |settings| {
            settings.http_allow = "127.0.0.1".parse().unwrap();
            settings.ended_max = 0;
            if shares {
                settings.secrets = secrets.path().to_owned();
            }
        })
    };
    let (here, alone) = (start(true).await, Platform::yaml(&[]).await);
    let id = here.begin("/open", "1").await;
    let call = endpoint.after(1).await.remove(0);
    let foreign = format!("{}/callbacks/{}", alone.url, token(&call));
    assert_eq!(
        call_back(&foreign, "1", None).await,
        403,
        "signed by another"
    );
    assert_eq!(call.call_back("1").await, 200);
    here.ask(&id, "signals/go", "1").await;
    let gone = async || here.get(&format!("/requests/{id}")).await.status() == 404;
    soon(async { while !gone().await {} }).await;
    assert_eq!(call.call_back("1").await, 404);
}

#[tokio::test]
async fn the_status_that_a_function_ended_with_decides_how_its_step_goes_on() {
    let flow = "
flow: told
nodes:
  work: { http: URL, callback: true, idempotent: true, timeout: 60s, retry: { attempts: 2, backoff: 1ms..2ms } }
";
    let endpoint = Endpoint::silent().await;
    let platform = outward(&[&at(flow, &endpoint)]).await;
    let id = platform.begin("/told", "1").await;
    let first = endpoint.after(1).await.remove(0);
    asleep(&platform, &id).await;
    for hostile in ["", "OK", "-1", "99999"] {
        let found = call_back(&first.callback(), "1", Some(hostile)).await;
        assert_eq!(found, 400, "{hostile:?}");
    }
    let url = first.callback();
    assert_eq!(call_back(&url, "\"busy\"", Some("503")).await, 200);
    let second = endpoint.after(2).await.remove(1);
    let url = second.callback();
    assert_eq!(call_back(&url, "\"never\"", Some("422")).await, 200);
    let (status, problem) = platform.result(&id).await;
    assert_eq!((status, &problem["cause"]), (500, &json!("permanent")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("422") && detail.contains("never"),
        "{detail}"
    );
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test]
async fn a_callback_of_any_size_that_may_be_kept_is_taken_and_a_larger_one_is_refused() {
    let endpoint = Endpoint::silent().await;
    let flow = read_yaml(&at(OPEN, &endpoint)).unwrap();
    let platform = Platform::with(vec![flow], |settings| {
        settings.http_allow = "127.0.0.1".parse().unwrap();
        settings.durable_bytes_max = 1_000_000;
        settings.body_bytes_max = 2_000_000;
    })
    .await;
    for (n, bytes) in [4_000, 4_200, 600_000, 999_000].into_iter().enumerate() {
        let id = platform.begin("/open", "1").await;
        let call = endpoint.after(n + 1).await.remove(n);
        let before = asleep(&platform, &id).await;
        assert_eq!(call.call_back(vec![b'x'; 1_000_001]).await, 413);
        assert_eq!(view(&platform, &id).await, before);
        let body = format!("\"{}\"", "y".repeat(bytes));
        assert_eq!(call.call_back(body.clone()).await, 200, "{bytes}");
        let path = format!("/requests/{id}/steps/work/output");
        let kept = platform.get(&path).await.text().await.unwrap();
        assert!(kept == body, "{bytes}: {} bytes are kept", kept.len());
        assert_eq!(call.call_back(body).await, 409, "{bytes}");
        platform.ask(&id, "signals/go", "1").await;
        let (status, result) = platform.result(&id).await;
        assert_eq!((status, result.as_str().map(str::len)), (200, Some(bytes)));
        platform.ended(&id).await;
    }
    assert_eq!(platform.engine.store_bytes(), 0);
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_a_call_on_fails_its_step() {
    let elsewhere = Endpoint::silent().await;
    let to = elsewhere.url.clone();
    let endpoint = Endpoint::start(move |_| {
        let to = to.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response() }
    })
    .await;
    let platform = outward(&[&at(OPEN, &endpoint)]).await;
    let answer = platform.post("/open", "1").await;
    let problem: Json = answer.json().await.unwrap();
    assert!(
        problem["detail"].as_str().unwrap().contains("307"),
        "{problem}"
    );
    assert_eq!(endpoint.received()[0].call_back("1").await, 409);
    assert!(elsewhere.received().is_empty(), "it was followed");
}

#[tokio::test]
async fn a_callback_over_the_limit_of_bodies_is_refused_through_the_gateway_as_well() {
    let endpoint = Endpoint::silent().await;
    let flow = read_yaml(&at(OPEN, &endpoint)).unwrap();
    let platform = Platform::with(vec![flow], |settings| {
        settings.http_allow = "127.0.0.1".parse().unwrap();
        settings.body_bytes_max = 2_000_000;
    })
    .await;
    let id = platform.begin("/open", "1").await;
    let call = endpoint.after(1).await.remove(0);
    let before = asleep(&platform, &id).await;
    for _ in 0..20 {
        assert_eq!(call.call_back(vec![b'x'; 2_000_001]).await, 413);
    }
    assert_eq!(view(&platform, &id).await, before);
}
