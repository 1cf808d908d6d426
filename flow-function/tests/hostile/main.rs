//! Bad input of every kind: it is refused with the right status and a message that names the limit,
//! and the platform serves on.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../platform/mod.rs"]
mod platform;

mod graphs;
mod outside;

use platform::Platform;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

/// Held by tests that measure the memory of this process.
static MEMORY: Mutex<()> = Mutex::const_new(());
const ECHO: &str = "flow: echo\nnodes: { call: { apply: echo } }";

/// A platform that serves these and `echo`.
async fn serving(flows: &[&str]) -> Platform {
    let flows = [flows, &[ECHO]].concat();
    Platform::yaml(&flows).await
}

/// A start with an input that fails one step, for good; what is said of it.
async fn refused(platform: &Platform, path: &str, input: &Json) -> String {
    let answer = platform.post(path, input.to_string()).await;
    let (status, problem): (_, Json) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, 500, "{path} of {input}: {problem}");
    assert_eq!(
        problem["cause"], "permanent",
        "{path} of {input}: {problem}"
    );
    let detail = problem["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.len() < 4_000,
        "{} bytes: {detail:.200}",
        detail.len()
    );
    detail
}

/// The platform still does what it is for.
async fn serves_on(platform: &Platform) {
    let answer = platform.post("/echo", "7").await;
    assert_eq!(answer.text().await.unwrap(), "7");
    let list = |list: &Json| {
        let rows = list["requests"].as_array().unwrap();
        rows.iter().all(|row| row["settled"] == true)
    };
    platform.until("/requests?limit=1000", list).await;
    assert_eq!(
        (platform.engine.store_bytes(), platform.engine.driving()),
        (0, 0)
    );
}

/// Most memory that this process ever held, in bytes.
fn memory_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test]
async fn a_for_each_over_what_has_no_items_is_refused_by_what_it_is() {
    let flow = "flow: each\nnodes: { all: { for_each: { items: .list, body: { nodes: { one: { pass: . } } } } } }";
    let platform = serving(&[flow]).await;
    for (list, named) in [
        (json!(3), "number"),
        (json!("abc"), "string"),
        (json!(true), "boolean"),
        (Json::Null, "null"),
    ] {
        let detail = refused(&platform, "/each", &json!({ "list": list })).await;
        assert!(detail.starts_with("step all:"), "{detail}");
        assert!(
            detail.contains(named) || detail.contains(&list.to_string()),
            "{list}: {detail}"
        );
    }
    for garbage in ["{\"list\": [1", "[", "\u{fffd}"] {
        assert_eq!(platform.post("/each", garbage).await.status(), 400);
    }
    serves_on(&platform).await;
}

#[tokio::test]
async fn a_for_each_over_ten_million_items_is_refused_and_memory_stays_flat() {
    let flow = "flow: each\nnodes: { all: { for_each: { items: 'ITEMS', body: { nodes: { one: { pass: . } } } } } }";
    let made = flow.replace("ITEMS", "[range(.)]");
    let sent = flow
        .replace("each", "sent")
        .replace("for_sent", "for_each")
        .replace("ITEMS", ".");
    let _alone = MEMORY.lock().await;
    let platform = serving(&[&made, &sent]).await;
    platform.post("/each", "10").await;
    let before = memory_peak();
    let detail = refused(&platform, "/each", &json!(10_000_000)).await;
    // Time or memory may run out before the items are counted, by how fast the build is.
    let named = [
        "limit 1000000",
        "TURLOUGH_JQ_TIMEOUT",
        "TURLOUGH_JQ_BYTES_MAX",
    ];
    assert!(named.iter().any(|name| detail.contains(name)), "{detail}");
    let list = format!("[{}1]", "1,".repeat(1_000_000));
    let id = platform.begin("/sent", list).await;
    let detail = platform.ended(&id).await["error"].to_string();
    assert!(detail.contains("1000001 items, limit 1000000"), "{detail}");
    let answer = platform
        .post("/sent", format!("[{}1]", "1,".repeat(10_000_000)))
        .await;
    assert_eq!(answer.status(), 413);
    let grown = memory_peak().saturating_sub(before);
    assert!(grown < 1 << 30, "it took {grown} bytes");
    serves_on(&platform).await;
}

#[tokio::test]
async fn hostile_names_of_signals_and_steps_and_ids_are_refused_and_change_nothing() {
    let platform = serving(&["flow: open\nnodes: { ask: { wait: { signal: go } } }"]).await;
    let id = platform.begin("/open", "1").await;
    let before = platform.stands(&id, "sleeping").await;
    let long = "g".repeat(10_000);
    let names = [
        "a%2Fb",
        "..",
        "%2e%2e%2f%2e%2e",
        "g.o",
        "*",
        ">",
        "go.>",
        "go%00",
        "go%0d%0aX:1",
        "%20go",
        "-go",
        "g%C3%B6",
        "%ff",
        "go%3Ffrom=a",
        &long,
    ];
    for name in names {
        let url = format!("{}/requests/{id}/signals/{name}", platform.direct);
        let url = url.replace("/..", "/%2e%2e");
        let answer = platform.http.post(url).body("1").send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(
            [400, 404, 414].contains(&status),
            "{name:.20}: {status} {text:.200}"
        );
        assert!(text.len() < 1_000, "{name:.20}: {} bytes", text.len());
    }
    for path in [
        "%2e%2e/output",
        "ask%00/output",
        "a*/output",
        "ask%0d%0aX:1/input",
        "%ff/output",
        "ask%5B99999999999%5D/x/output",
        "ask%23-1/x/output",
        &format!("{}/output", "a/".repeat(5_000)),
    ] {
        let url = format!("{}/requests/{id}/steps/{path}", platform.direct);
        let answer = platform.http.get(url).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(
            [400, 404].contains(&status),
            "{path:.30}: {status} {text:.200}"
        );
    }
    let after = platform.json(&format!("/requests/{id}")).await;
    assert_eq!(after, before);
    platform.ask(&id, "signals/go", "1").await;
    serves_on(&platform).await;
}

#[tokio::test]
async fn a_wait_until_what_is_no_time_of_this_year_fails_and_what_is_past_is_over() {
    let platform = serving(&["flow: nap\nnodes: { nap: { wait: { until: . } } }"]).await;
    for past in [
        json!(0),
        json!(-5),
        json!(-1e300),
        json!(1.5),
        json!("1969-12-31T23:59:59Z"),
        json!("0001-01-01T00:00:00Z"),
    ] {
        let answer = platform.post("/nap", past.to_string()).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{past}: {text}");
    }
    for (bad, named) in [
        (json!(1e18), "366 days"),
        (json!(1e300), "366 days"),
        (json!(u64::MAX), "366 days"),
        (json!("2525-01-01T00:00:00Z"), "366 days"),
        (json!("9999-12-30T22:00:00Z"), "366 days"),
        (json!("tomorrow"), "RFC 3339"),
        (json!("2026-02-30T00:00:00Z"), "RFC 3339"),
        (json!("5m"), "RFC 3339"),
        (json!(""), "RFC 3339"),
        (json!("9".repeat(10_000)), "RFC 3339"),
        (json!([1]), "RFC 3339"),
        (json!({}), "RFC 3339"),
        (Json::Null, "RFC 3339"),
        (json!(true), "RFC 3339"),
    ] {
        let detail = refused(&platform, "/nap", &bad).await;
        assert!(detail.contains(named), "{bad}: {detail}");
    }
    serves_on(&platform).await;
}
