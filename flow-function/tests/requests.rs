//! Requests from their start to their end, over HTTP.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::time::Duration;

use futures_util::future::join_all;
use platform::Platform;
use serde_json::{Value as Json, json};
use turlough_sdk::{Flow, StepError, read_yaml};

const ECHO: &str = "flow: echo\nnodes: { call: { apply: echo } }\n";
const HANG: &str = "flow: hang\ntimeout: 30s\nnodes: { call: { apply: hang }, after: { after: [call], pass: . } }\n";

#[tokio::test]
async fn every_caller_gets_the_answer_to_what_it_sent() {
    let platform = Platform::yaml(&[ECHO]).await;
    let call = |n: usize| {
        let platform = &platform;
        async move {
            let answer = platform.post("/echo", n.to_string()).await;
            (n.to_string(), answer.text().await.unwrap())
        }
    };
    for (sent, got) in join_all((0..300).map(call)).await {
        assert_eq!(sent, got);
    }
    let open = |list: &Json| {
        list["requests"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["settled"] == true)
    };
    let list = platform.until("/requests?limit=1000", open).await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 300);
    assert_eq!(platform.engine.store_bytes(), 0);
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended() {
    let platform = Platform::yaml(&[ECHO]).await;
    for _ in 0..5 {
        platform.post("/echo", "1").await;
    }
    let ids = |list: &Json| {
        let rows = list["requests"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = ids(&platform.json("/requests").await);
    assert!(all.is_sorted_by(|newer, older| newer > older), "{all:?}");
    let mut paged = Vec::new();
    let mut path = "/requests?limit=2".to_owned();
    while paged.len() < 10 {
        let page = platform.json(&path).await;
        paged.extend(ids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/requests?limit=2&before={next}");
    }
    assert_eq!((paged.len(), paged), (5, all));
}

#[tokio::test]
async fn respond_async_says_where_the_request_is_and_keeps_its_result() {
    let platform = Platform::yaml(&[ECHO]).await;
    let url = format!("{}/echo", platform.url);
    let call = platform
        .http
        .post(url)
        .header("prefer", "respond-async")
        .body("[1]");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let id = answer.headers()["x-turlough-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        answer.headers()["location"],
        format!("/function/flows/requests/{id}")
    );
    platform.ended(&id).await;
    let result = platform.get(&format!("/requests/{id}/result")).await;
    assert_eq!(
        (result.status().as_u16(), result.text().await.unwrap()),
        (200, "[1]".into())
    );
}

#[tokio::test]
async fn a_result_between_the_inline_limit_and_the_durable_one_is_kept_in_parts() {
    let platform = Platform::yaml(&[ECHO]).await;
    let body = format!("\"{}\"", "x".repeat(2_000_000));
    let answer = platform.post("/echo", body.clone()).await;
    let id = answer.headers()["x-turlough-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(answer.text().await.unwrap(), body);
    let view = platform.ended(&id).await;
    assert_eq!(view["status"], "succeeded");
    let kept = platform
        .get(&format!("/requests/{id}/result"))
        .await
        .text()
        .await
        .unwrap();
    assert!(kept == body, "{} bytes of {}", kept.len(), body.len());
}

#[tokio::test]
async fn a_synchronous_caller_is_sent_away_when_it_has_waited_long_enough() {
    let flow = read_yaml(HANG).unwrap();
    let platform = Platform::with(vec![flow], |s| {
        s.sync_wait = Some(Duration::from_millis(50))
    })
    .await;
    let answer = platform.post("/", "{}").await;
    assert_eq!(answer.status(), 202);
    let status: Json = answer.json().await.unwrap();
    assert_eq!(status["status"], "running");
    let result = platform
        .get(&format!(
            "/requests/{}/result",
            status["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(result.status(), 202);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_leaves_nothing() {
    let flow = read_yaml(ECHO).unwrap();
    let platform = Platform::with(vec![flow], |s| s.body_bytes_max = 1000).await;
    let answer = platform.post("/echo", vec![b'1'; 1001]).await;
    assert_eq!(answer.status(), 413);
    let problem: Json = answer.json().await.unwrap();
    assert_eq!(
        (problem["limit"].as_u64(), problem["size"].as_u64()),
        (Some(1000), Some(1001))
    );
    let chunks = futures_util::stream::repeat(bytes::Bytes::from_static(&[b'1'; 100]));
    let chunks = futures_util::StreamExt::map(chunks, Ok::<_, std::io::Error>);
    let endless = reqwest::Body::wrap_stream(chunks);
    let answer = platform
        .http
        .post(format!("{}/echo", platform.direct))
        .body(endless)
        .send()
        .await;
    // The answer may overtake the body, and then the connection is closed under it.
    assert!(answer.map_or(true, |answer| answer.status() == 413));
    assert_eq!(platform.json("/requests").await["requests"], json!([]));
    assert_eq!(platform.engine.store_bytes(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_the_json_it_says_is_400_and_leaves_nothing() {
    let platform = Platform::yaml(&[ECHO]).await;
    let answer = platform.post("/echo", "{oops").await;
    assert_eq!(answer.status(), 400);
    let problem: Json = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("body is not the JSON that its content type says: "),
        "{detail}"
    );
    assert_eq!(platform.json("/requests").await["requests"], json!([]));
}

#[tokio::test]
async fn a_step_that_waits_for_its_next_attempt_is_shown_as_retrying() {
    let flow = "
flow: patient
nodes:
  call: { apply: fail, retry: { attempts: 2, backoff: 1h } }
";
    let platform = Platform::yaml(&[flow]).await;
    let id = platform.begin("/patient", "{}").await;
    let retrying =
        |view: &Json| view["steps"][0]["status"] == "retrying" && view["status"] == "sleeping";
    let view = platform.until(&format!("/requests/{id}"), retrying).await;
    assert!(
        view["steps"][0]["error"]
            .as_str()
            .unwrap()
            .contains("the disk is on fire"),
        "{view}"
    );
}

#[tokio::test]
async fn what_is_unknown_is_404_and_named() {
    let platform = Platform::yaml(&[ECHO]).await;
    let unknown = "0190a1b2-0000-7000-8000-000000000000";
    for (path, named) in [
        ("/flows/nope".to_owned(), "nope"),
        (format!("/requests/{unknown}"), unknown),
        (format!("/requests/{unknown}/result"), unknown),
        (format!("/requests/{unknown}/events"), unknown),
        ("/requests/..%2Fsecret".to_owned(), "../secret"),
    ] {
        let answer = platform.get(&path).await;
        assert_eq!(answer.status(), 404, "{path}");
        let problem: Json = answer.json().await.unwrap();
        assert!(
            problem["detail"].as_str().unwrap().contains(named),
            "{problem}"
        );
    }
    let problem: Json = platform.post("/nope", "{}").await.json().await.unwrap();
    assert_eq!(problem["detail"], "no flow \"nope\" here; there is echo");
    let answer = platform
        .post(&format!("/requests/{unknown}/cancel"), "")
        .await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn control_from_another_machine_without_the_token_changes_nothing() {
    let platform = Platform::yaml(&[HANG]).await;
    let id = platform.begin("/hang", "{}").await;
    let cancel = |base: &str| platform.http.post(format!("{base}/requests/{id}/cancel"));
    for base in [&platform.url, &platform.direct] {
        let answer = cancel(base)
            .header("x-forwarded-for", "192.0.2.7")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.headers().contains_key("www-authenticate"));
    }
    let list = platform.http.get(format!("{}/requests", platform.url));
    let list = list
        .header("x-forwarded-for", "192.0.2.7")
        .send()
        .await
        .unwrap();
    assert_eq!(list.status(), 401);
    assert_eq!(
        platform.json(&format!("/requests/{id}")).await["status"],
        "running"
    );
    assert_eq!(cancel(&platform.url).send().await.unwrap().status(), 202);
    assert_eq!(platform.ended(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn where_there_is_a_token_it_is_needed_from_everywhere() {
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("turlough-token"), "s3cret\n").unwrap();
    let flow = read_yaml(ECHO).unwrap();
    let platform = Platform::with(vec![flow], |s| s.secrets = secrets.path().to_owned()).await;
    assert_eq!(platform.get("/requests").await.status(), 401);
    let list = platform
        .http
        .get(format!("{}/requests", platform.url))
        .bearer_auth("s3cret");
    assert_eq!(list.send().await.unwrap().status(), 200);
    assert_eq!(
        platform.post("/echo", "1").await.status(),
        200,
        "starting a flow stays open"
    );
}

#[tokio::test]
async fn a_cancelled_request_stops_at_once_and_cannot_be_cancelled_again() {
    let platform = Platform::yaml(&[HANG]).await;
    let id = platform.begin("/hang", "{}").await;
    let cancel = format!("/requests/{id}/cancel");
    assert_eq!(platform.post(&cancel, "").await.status(), 202);
    let view = platform.ended(&id).await;
    assert_eq!(view["status"], "cancelled");
    let statuses: Vec<_> = view["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["status"])
        .collect();
    assert_eq!(statuses, ["abandoned", "not_reached"]);
    let again = platform.post(&cancel, "").await;
    assert_eq!(again.status(), 409);
    let problem: Json = again.json().await.unwrap();
    assert_eq!(problem["detail"], "the request has ended");
    assert_eq!(
        platform
            .get(&format!("/requests/{id}/result"))
            .await
            .status(),
        409
    );
}

#[tokio::test]
async fn a_flow_that_takes_too_long_times_out() {
    let platform = Platform::yaml(&[&HANG.replace("30s", "200ms")]).await;
    let answer = platform.post("/hang", "{}").await;
    assert_eq!(answer.status(), 504);
    let list = platform.json("/requests").await;
    assert_eq!(list["requests"][0]["status"], "timed_out");
}

#[tokio::test]
async fn a_closure_that_panics_ends_its_request_and_no_other() {
    fn explode(n: u32) -> Result<u32, StepError> {
        assert!(n < 10, "{n} is too much");
        Ok(n)
    }
    async fn explode_later(n: u32) -> Result<u32, StepError> {
        tokio::task::yield_now().await;
        explode(n)
    }
    let build = |name: &str| {
        let flow = Flow::builder(name);
        let n = flow.input::<u32>();
        let step = if name == "now" {
            flow.map("step", &n, explode)
        } else {
            flow.map("step", &n, explode_later)
        };
        flow.output(&step).build().unwrap()
    };
    let platform = Platform::start(vec![build("now"), build("later")]).await;
    for path in ["/now", "/later"] {
        let (bad, good) = tokio::join!(platform.post(path, "10"), platform.post(path, "9"));
        assert_eq!((bad.status().as_u16(), good.status().as_u16()), (500, 200));
        let problem: Json = bad.json().await.unwrap();
        assert_eq!(
            problem["detail"],
            "step step: closure panicked: 10 is too much"
        );
        assert_eq!(problem["cause"], "panic");
    }
}

const EACH: &str = "
flow: each
nodes:
  extra: { pass: '100' }
  all:
    for_each:
      items: .list
      max_parallel: 8
      body:
        nodes:
          called: { apply: echo }
          added: { after: [called, extra], pass: '.called + .extra' }
";

#[tokio::test]
async fn a_for_each_keeps_order_and_an_empty_one_is_an_empty_list() {
    let platform = Platform::yaml(&[EACH]).await;
    let list: Vec<u32> = (0..200).collect();
    let answer = platform
        .post("/each", json!({ "list": list }).to_string())
        .await;
    let id = answer.headers()["x-turlough-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let got: Vec<u32> = answer.json().await.unwrap();
    assert_eq!(got, (100..300).collect::<Vec<_>>());
    let view = platform.ended(&id).await;
    let all = view["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["step"] == "all")
        .unwrap();
    assert_eq!(
        (all["items"].as_u64(), all["status"].as_str()),
        (Some(200), Some("succeeded"))
    );
    let of_items = view["steps"].as_array().unwrap().iter().filter_map(|row| {
        let inner = row["step"].as_str()?.starts_with("all[");
        inner.then(|| row["duration_ms"].as_f64())?
    });
    let longest = of_items.fold(0.0, f64::max);
    assert!(
        all["duration_ms"].as_f64().unwrap() > longest,
        "a for_each takes as long as its items"
    );
    let answer = platform.post("/each", r#"{"list": []}"#).await;
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (200, "[]".into())
    );
    let answer = platform.post("/each", r#"{"list": 3}"#).await;
    let problem: Json = answer.json().await.unwrap();
    assert!(
        problem["detail"].as_str().unwrap().starts_with("step all:"),
        "{problem}"
    );
}

#[tokio::test]
async fn the_event_stream_tells_every_step_and_goes_on_where_it_broke_off() {
    let platform = Platform::yaml(&[EACH]).await;
    let id = platform.begin("/each", r#"{"list": [1, 2]}"#).await;
    let path = format!("/requests/{id}/events");
    let text = platform.get(&path).await.text().await.unwrap();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!((names[0], names[names.len() - 1]), ("accepted", "settled"));
    assert_eq!(
        names.iter().filter(|name| **name == "step_ended").count(),
        1 + 2 + 2 * 2
    );
    let ids: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    let resumed = platform.http.get(format!("{}{path}", platform.url));
    let resumed = resumed
        .header("last-event-id", ids[ids.len() - 2])
        .send()
        .await
        .unwrap();
    let text = resumed.text().await.unwrap();
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    assert!(text.contains("event: settled"));
}

#[tokio::test]
async fn flows_are_shown_as_data_and_as_pictures() {
    let platform = Platform::yaml(&[EACH, ECHO]).await;
    let list = platform.json("/flows").await;
    assert_eq!(list["flows"][1]["name"], "echo");
    assert_eq!(
        platform.json("/flows/each").await["graph"]["nodes"][1]["id"],
        "all"
    );
    let text = |format: &'static str| {
        let platform = &platform;
        async move {
            platform
                .get(&format!("/flows/each?format={format}"))
                .await
                .text()
                .await
                .unwrap()
        }
    };
    assert!(text("dot").await.starts_with("digraph"));
    assert!(text("mermaid").await.starts_with("flowchart"));
    assert_eq!(platform.get("/flows/each?format=png").await.status(), 400);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let platform = Platform::yaml(&[ECHO]).await;
    let answer = platform.post("/echo", "1").await;
    platform
        .ended(answer.headers()["x-turlough-request-id"].to_str().unwrap())
        .await;
    let text = platform.get("/metrics").await.text().await.unwrap();
    for line in [
        r#"turlough_requests_total{flow="echo",outcome="succeeded",tenant="default"} 1"#,
        r#"turlough_step_attempts_total{flow="echo",node="call",tenant="default"} 1"#,
        r#"turlough_store_bytes{tenant="default"} 0"#,
        r#"turlough_requests_driving{tenant="default"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}

#[tokio::test]
async fn past_its_capacity_a_replica_accepts_and_the_rest_wait_their_turn() {
    let flow = read_yaml(ECHO).unwrap();
    let platform = Platform::with(vec![flow], |s| s.capacity = 1).await;
    let calls = (0..50).map(|_| platform.post("/echo", "1"));
    for answer in join_all(calls).await {
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn past_the_bound_on_open_requests_the_answer_is_503() {
    let flow = read_yaml(HANG).unwrap();
    let platform = Platform::with(vec![flow], |s| s.requests_max = 1).await;
    platform.begin("/hang", "{}").await;
    let answer = platform.post("/hang", "{}").await;
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["retry-after"].to_str().unwrap()
        ),
        (503, "1")
    );
}

#[tokio::test]
async fn when_the_logs_are_nearly_full_the_answer_is_503_and_what_was_accepted_goes_on() {
    let flow = read_yaml(ECHO).unwrap();
    let platform = Platform::with(vec![flow], |s| {
        s.state.bytes_max = 100_000;
        s.ended_bytes_max = u64::MAX;
    });
    let platform = platform.await;
    let body = format!("\"{}\"", "x".repeat(30_000));
    let first = platform.post("/echo", body.clone()).await;
    assert_eq!(first.status(), 200);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(platform.post("/echo", body.clone()).await.status().as_u16());
    }
    assert_eq!(statuses.last(), Some(&503), "{statuses:?}");
}

#[tokio::test]
async fn a_shutdown_lets_open_requests_end_and_takes_no_new_ones() {
    let flow = Flow::builder("slow");
    let n = flow.input::<u32>();
    let step = flow.map("step", &n, |n: u32| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok::<_, StepError>(n + 1)
    });
    let mut platform = Platform::start(vec![flow.output(&step).build().unwrap()]).await;
    let server = platform.server.take().unwrap();
    let url = format!("{}/slow", platform.direct);
    let call = tokio::spawn(platform.http.post(url).body("1").send());
    platform
        .until("/requests", |list| {
            list["requests"].as_array().unwrap().len() == 1
        })
        .await;
    platform.shutdown.cancel();
    let ready = format!("{}/_/ready", platform.direct);
    assert_eq!(platform.http.get(ready).send().await.unwrap().status(), 503);
    let refused = platform
        .http
        .post(format!("{}/slow", platform.direct))
        .body("1")
        .send()
        .await;
    assert_eq!(refused.unwrap().status(), 503);
    assert_eq!(call.await.unwrap().unwrap().text().await.unwrap(), "2");
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let platform = Platform::yaml(&[ECHO]).await;
    let mut settings = turlough_flow_function::Settings::from_environment();
    settings.listen = std::net::Ipv4Addr::LOCALHOST.into();
    settings.port = platform.direct.rsplit(':').next().unwrap().parse().unwrap();
    let error = turlough_flow_function::Server::bind(settings.clone(), Vec::new())
        .await
        .unwrap_err();
    let expect = format!(
        "cannot listen on {}; set TURLOUGH_LISTEN and port to another",
        settings.address()
    );
    assert_eq!(error.to_string(), expect);
}
