//! What functions take of the machine: in metrics, in `usage=1`, and for one call.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::harness::*;
use crate::modes::{post, stack};

const CPU: &str = "x-turlough-cpu-seconds";
const PEAK: &str = "x-turlough-memory-peak-bytes";

const PYTHON: &str = "python3 handler.py";

/// What a process of python takes for so many seconds of a processor, and no more than a bit of memory.
fn burns(seconds: &str) -> String {
    format!("python3 -c 'import time\nwhile time.process_time() < {seconds}: pass\nprint(1)'")
}

async fn metric(gateway: &TestGateway, name: &str) -> Option<f64> {
    let text = get(gateway.metrics, "/metrics").await.text().to_owned();
    let line = format!("turlough_function_{name}{{function_name=\"it.openfaas-fn\"}} ");
    let value = text.lines().find_map(|found| found.strip_prefix(&line))?;
    Some(value.parse().unwrap())
}

async fn cpu_is_at_least(gateway: &TestGateway, seconds: f64) -> f64 {
    let enough = || async {
        let found = metric(gateway, "cpu_seconds_total").await?;
        (found >= seconds).then_some(found)
    };
    eventually(enough).await
}

/// Asks what a call costs.
async fn asking(gateway: &TestGateway, path: &str, body: impl Into<Bytes>) -> Answer {
    let request = Request::post(path).header("x-turlough-want-usage", "1");
    let request = request.body(Full::from(body.into())).unwrap();
    within(gateway.call(request)).await
}

fn number(answer: &Answer, name: &str) -> f64 {
    let value = answer.headers.get(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    value.to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn time_of_replicas_is_summed_with_their_children_and_never_falls() {
    let gateway = TestGateway::with_stack(config(), &python("")).await;
    assert_eq!(post(&gateway, "/function/it/burn", "0.3").await.status, 200);
    let one = cpu_is_at_least(&gateway, 0.3).await;
    assert_eq!(
        post(&gateway, "/function/it/child", "0.3").await.status,
        200
    );
    let two = cpu_is_at_least(&gateway, one + 0.3).await;
    // It is killed before anybody has looked, and takes what it took with it.
    assert_eq!(post(&gateway, "/function/it/burn", "0.3").await.status, 200);
    let pid = gateway.get("/function/it").await.json()["pid"].clone();
    gateway.get("/function/it/die").await;
    let three = cpu_is_at_least(&gateway, two + 0.3).await;
    let another = || async {
        let answer = gateway.get("/function/it").await;
        (answer.status == 200 && answer.json()["pid"] != pid).then_some(())
    };
    eventually(another).await;
    assert_eq!(post(&gateway, "/function/it/burn", "0.3").await.status, 200);
    cpu_is_at_least(&gateway, three + 0.3).await;
    gateway.stop().await;
}

#[tokio::test]
async fn time_and_memory_of_requests_processes_are_counted_also_of_those_that_are_killed() {
    let endless = "    environment:\n      exec_timeout: 1s\n";
    let holds = "python3 -c 'x = b\"x\" * 300000000'";
    for (command, more, seconds, bytes) in [
        (burns("0.3").as_str(), "", 0.3, 1e6),
        (holds, "", 0.01, 3e8),
        // As a child of what is killed.
        (
            &format!("sh -c {}", shlex_quote(&format!("{}; true", burns("600")))),
            endless,
            0.3,
            1e6,
        ),
    ] {
        let gateway =
            TestGateway::with_stack(config(), &stack(&[("it", "fork", command, more)])).await;
        assert_eq!(metric(&gateway, "cpu_seconds_total").await, None);
        post(&gateway, "/function/it", "").await;
        cpu_is_at_least(&gateway, seconds).await;
        if bytes < 1e8 {
            // Not what it was forked from.
            let peak = metric(&gateway, "memory_peak_bytes").await;
            assert!(peak.is_none_or(|peak| peak > 1e6), "{peak:?}");
        } else {
            let peak = metric(&gateway, "memory_peak_bytes").await.unwrap();
            assert!(peak >= bytes, "{peak}");
        }
        gateway.stop().await;
    }
}

fn shlex_quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[tokio::test]
async fn counter_goes_on_where_a_function_is_removed_scaled_or_replaced() {
    let gateway = TestGateway::start().await;
    let it = |version: &str| {
        json!({
            "service": "it",
            "envVars": { "version": version },
            "annotations": { "turlough.process": PYTHON, "turlough.directory": handlers() },
        })
    };
    let functions = "/system/functions";
    gateway.accepted(Method::POST, functions, &it("1")).await;
    gateway.available("it", 1).await;
    post(&gateway, "/function/it/burn", "0.3").await;
    let two = json!({ "replicas": 2 });
    let scale = "/system/scale-function/it";
    gateway.accepted(Method::POST, scale, &two).await;
    gateway.available("it", 2).await;
    let none = json!({ "replicas": 0 });
    gateway.accepted(Method::POST, scale, &none).await;
    gateway.available("it", 0).await;
    let before = cpu_is_at_least(&gateway, 0.3).await;
    post(&gateway, "/function/it/burn", "0.3").await;
    gateway.accepted(Method::PUT, functions, &it("2")).await;
    let before = cpu_is_at_least(&gateway, before + 0.3).await;
    let name = json!({ "functionName": "it" });
    gateway.accepted(Method::DELETE, functions, &name).await;
    gateway.accepted(Method::POST, functions, &it("3")).await;
    gateway.available("it", 1).await;
    post(&gateway, "/function/it/burn", "0.3").await;
    cpu_is_at_least(&gateway, before + 0.3).await;
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_works_shows_how_much_it_takes_to_whoever_asks() {
    let gateway = TestGateway::with_stack(config(), &python("")).await;
    let plain = gateway.get("/system/function/it").await.json();
    assert!(plain.get("usage").is_none(), "{plain}");
    let burning = async { while post(&gateway, "/function/it/burn", "0.3").await.status == 200 {} };
    let asking = async {
        let busy = || async {
            let one = gateway.get("/system/function/it?usage=1").await.json();
            let usage = one["usage"].clone();
            let bytes = usage["totalMemoryBytes"].as_f64().unwrap();
            (usage["cpu"].as_f64().unwrap() > 200.0 && bytes > 1e6).then_some(usage)
        };
        eventually(busy).await
    };
    let usage = tokio::select! {
        usage = asking => usage,
        () = burning => panic!("it burns no more"),
    };
    // No more than the processors of this machine have.
    let all = 1e3 * std::thread::available_parallelism().unwrap().get() as f64;
    assert!(usage["cpu"].as_f64().unwrap() <= 1.5 * all, "{usage}");
    let list = gateway.get("/system/functions?usage=1").await.json();
    assert!(
        list[0]["usage"]["totalMemoryBytes"].as_f64().unwrap() > 1e6,
        "{list}"
    );
    let list = gateway.get("/system/functions").await.json();
    assert!(list[0].get("usage").is_none(), "{list}");
    let pid = gateway.started[0].pid;
    gateway
        .accepted(
            Method::POST,
            "/system/scale-function/it",
            &json!({ "replicas": 0 }),
        )
        .await;
    eventually(|| async { (!runs(pid.into())).then_some(()) }).await;
    let rests = || async {
        let one = gateway.get("/system/function/it?usage=1").await.json();
        (one["usage"]["totalMemoryBytes"].as_f64() == Some(0.0)).then_some(())
    };
    eventually(rests).await;
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_others_run_shows_no_usage() {
    let gateway = TestGateway::start().await;
    gateway.function("it", ([127, 0, 0, 1], 9).into());
    let one = gateway.get("/system/function/it?usage=1").await;
    assert_eq!(one.status, StatusCode::OK);
    assert!(one.json().get("usage").is_none(), "{}", one.text());
    assert_eq!(metric(&gateway, "cpu_seconds_total").await, None);
    gateway.stop().await;
}

#[tokio::test]
async fn call_of_a_process_tells_what_it_cost_where_that_is_asked() {
    let holds = "python3 -c 'x = b\"x\" * 300000000; print(1)'";
    let stack = stack(&[
        ("burns", "fork", &burns("0.2"), ""),
        ("holds", "fork", holds, ""),
        ("fails", "fork", "sh -c 'exit 3'", ""),
        ("long", "fork", "head -c 1000000 /dev/zero", ""),
    ]);
    let gateway = TestGateway::with_stack(config(), &stack).await;
    let answer = asking(&gateway, "/function/burns", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    let cpu = number(&answer, CPU);
    assert!((0.2..60.0).contains(&cpu), "{cpu}");
    let answer = asking(&gateway, "/function/holds", "").await;
    let peak = number(&answer, PEAK);
    assert!((3e8..4e8).contains(&peak), "{peak}");
    let answer = asking(&gateway, "/function/fails", "").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(number(&answer, CPU) < 60.0);
    // An answer that has begun before its process has ended cannot tell.
    let answer = asking(&gateway, "/function/long", "").await;
    assert_eq!(
        (answer.status, answer.body.len()),
        (StatusCode::OK, 1_000_000)
    );
    assert!(!answer.headers.contains_key(CPU), "{answer:?}");
    let answer = post(&gateway, "/function/burns", "").await;
    assert!(!answer.headers.contains_key(CPU), "{answer:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn call_of_a_replica_tells_what_it_cost_where_it_is_the_only_one() {
    let gateway = TestGateway::with_stack(config(), &python("")).await;
    for path in ["/function/it/burn", "/function/it/child"] {
        let answer = asking(&gateway, path, "0.2").await;
        let cpu = number(&answer, CPU);
        // A child's time is told in hundredths.
        assert!((0.19..60.0).contains(&cpu), "{path}: {cpu}");
        assert_eq!(answer.text(), "0.2");
    }
    let peak = number(
        &asking(&gateway, "/function/it/hold", "300000000").await,
        PEAK,
    );
    assert!((3e8..4e8).contains(&peak), "{peak}");
    // What it held for the one call is not the next one's; for the function it stays.
    let peak = number(&asking(&gateway, "/function/it", "").await, PEAK);
    assert!(peak < 2e8, "{peak}");
    let peak = || async {
        metric(&gateway, "memory_peak_bytes")
            .await
            .filter(|peak| *peak >= 3e8)
    };
    eventually(peak).await;
    // A longer answer than is held back, and one that is not asked for.
    let answer = asking(&gateway, "/function/it", vec![b'x'; 65_537]).await;
    assert_eq!(answer.body.len(), 65_537);
    assert!(!answer.headers.contains_key(CPU), "{answer:?}");
    let answer = asking(&gateway, "/function/it", vec![b'x'; 65_536]).await;
    assert!(answer.headers.contains_key(CPU), "{answer:?}");
    let answer = post(&gateway, "/function/it", "x").await;
    assert!(!answer.headers.contains_key(CPU), "{answer:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn call_that_shares_its_replica_tells_nothing() {
    let more = "    environment:\n      slow_s: \"2\"\n";
    let gateway = TestGateway::with_stack(config(), &stack_of(PYTHON, more)).await;
    let later = || async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        asking(&gateway, "/function/it", "x").await
    };
    let (first, second) = tokio::join!(asking(&gateway, "/function/it/slow", "x"), later());
    for answer in [first, second] {
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.headers.contains_key(CPU), "{answer:?}");
    }
    let answer = asking(&gateway, "/function/it", "x").await;
    assert!(answer.headers.contains_key(CPU), "{answer:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_function_says_of_its_cost_itself_is_not_passed_on() {
    let gateway = TestGateway::start().await;
    let address = function(|mut stream| async move {
        while read_head(&mut stream).await.is_some() {
            let head = "HTTP/1.1 200 OK\r\nX-Turlough-Cpu-Seconds: 0\r\nX-Turlough-Memory-Peak-Bytes: 0\r\n";
            write(&mut stream, &format!("{head}Content-Length: 0\r\n\r\n")).await;
        }
    });
    gateway.function("it", address.await);
    let answer = asking(&gateway, "/function/it", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    for name in [CPU, PEAK] {
        assert!(!answer.headers.contains_key(name), "{answer:?}");
    }
    gateway.stop().await;
}
