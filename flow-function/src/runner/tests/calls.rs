//! What is sent to functions and endpoints, and what their answers mean.

use super::*;

#[tokio::test]
async fn an_endpoint_is_sent_texts_and_no_error_tells_a_secret() {
    let (url, seen) = endpoint().await;
    let node = |path: &str| {
        format!(
            "{{ http: \"{url}{path}\", idempotent: true, query: {{ n: {{ jq: .n }} }}, headers: {{ authorization: {{ secret: key }}, x-n: {{ jq: .n }} }} }}"
        )
    };
    let bench = bench(&node("/x?a=b"));
    let (cause, message) = bench.failure(Work::Operation, "{\"n\": \"a b\"}").await;
    assert_eq!(cause, Cause::Permanent);
    assert!(message.starts_with("secret key is missing"), "{message}");
    std::fs::write(bench.secrets.path().join("key"), "Bearer s3cr3t\n").unwrap();
    assert_eq!(
        bench.output(Work::Operation, "{\"n\": \"a b\"}").await,
        "{\"n\": \"a b\"}"
    );
    let (uri, headers, _) = seen.last();
    assert_eq!(uri, "/x?a=b&n=a%20b");
    assert_eq!(headers["authorization"], "Bearer s3cr3t");
    assert_eq!(headers["x-n"], "a b");
    assert_eq!(headers["x-turlough-step"], "n");
    assert!(headers.contains_key("x-turlough-idempotency-key"));
    for bad in ["{\"n\": \"a\\r\\nX-Evil: 1\"}", "{\"n\": [1]}", "{}"] {
        let (cause, _) = bench.failure(Work::Operation, bad).await;
        assert_eq!(cause, Cause::Permanent, "{bad}");
    }
    let leaking = Bench::new(
        &format!("flow: f\nnodes:\n  n: {}\n", node("/status/422")),
        |_| {},
    );
    std::fs::write(leaking.secrets.path().join("key"), "Bearer s3cr3t\n").unwrap();
    let (_, message) = leaking.failure(Work::Operation, "{\"n\": 1}").await;
    assert!(!message.contains("s3cr3t"), "{message}");
    assert!(
        message.contains("[secret]") || !message.contains("Bearer"),
        "{message}"
    );
}

#[tokio::test]
async fn s8_a_call_is_keyed_by_its_input_and_its_last_reset_and_not_by_its_attempt() {
    let (url, seen) = endpoint().await;
    let bench = bench(&format!("{{ http: \"{url}/x\", idempotent: true }}"));
    let mut keys = Vec::new();
    for (attempt, generation, input) in [(1, 0, "1"), (2, 0, "1"), (3, 0, "2"), (4, 1, "1")] {
        let run = bench.attempt(Work::Operation, vec![("input", given(input))]);
        let run = Run {
            attempt,
            generation,
            ..*run
        };
        super::run(Arc::clone(&bench.context), Arc::new(run), None, None).await;
        let (_, headers, _) = seen.last();
        assert_eq!(headers["x-turlough-attempt"], attempt.to_string());
        keys.push(headers["x-turlough-idempotency-key"].clone());
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[3]);
}

#[tokio::test]
async fn a_failure_says_whether_the_call_was_made() {
    let (url, _) = endpoint().await;
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let cut = rude("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    for (url, expected) in [
        (format!("{url}/status/404"), Cause::Permanent),
        (format!("{url}/status/302"), Cause::Permanent),
        (format!("{url}/status/408"), Cause::Transient),
        (format!("{url}/status/429"), Cause::Transient),
        (format!("{url}/status/503"), Cause::Transient),
        (refused, Cause::Transient),
        ("http://name.invalid/".to_owned(), Cause::Transient),
        (rude("").await, Cause::Unanswered),
        (cut, Cause::Unanswered),
        ("http://[::1]:1/".to_owned(), Cause::Permanent),
    ] {
        let bench = bench(&format!("{{ http: \"{url}\", idempotent: false }}"));
        let (cause, message) = bench.failure(Work::Operation, "1").await;
        assert_eq!(cause, expected, "{url}: {message}");
    }
}

#[tokio::test]
async fn a_name_that_stands_for_a_private_address_is_refused_for_good() {
    let node = "flow: f\nnodes:\n  n: { http: \"http://localhost:1/\", idempotent: false }\n";
    let bench = Bench::new(node, |settings| settings.http_allow = Default::default());
    let (cause, message) = bench.failure(Work::Operation, "1").await;
    assert_eq!(cause, Cause::Permanent);
    assert!(message.contains("TURLOUGH_HTTP_ALLOW"), "{message}");
}

#[tokio::test]
async fn a_url_that_is_computed_or_secret_is_judged_as_well() {
    let bench = bench("{ http: { jq: .url }, idempotent: true }");
    for bad in [
        "http://10.0.0.1/",
        "ftp://1.1.1.1/",
        "http://user:pass@127.0.0.1/",
        "/path",
    ] {
        let (cause, message) = bench
            .failure(Work::Operation, &format!("{{\"url\": \"{bad}\"}}"))
            .await;
        assert_eq!(cause, Cause::Permanent, "{message}");
    }
    let bench = self::bench("{ http: { secret: url }, idempotent: true }");
    for secret in [
        "http://10.0.0.1/hook",
        "http://hook-host.invalid/hook",
        "http://127.0.0.1:1/hook",
    ] {
        std::fs::write(bench.secrets.path().join("url"), secret).unwrap();
        let (_, message) = bench.failure(Work::Operation, "1").await;
        for hidden in ["hook", "10.0.0.1", "127.0.0.1"] {
            assert!(!message.contains(hidden), "{message}");
        }
    }
}

#[tokio::test]
async fn an_asynchronous_call_names_its_attempt_in_the_callback() {
    let (url, seen) = endpoint().await;
    let node = |path: &str| {
        format!("flow: f\nnodes:\n  n: {{ apply: work, mode: async, path: \"{path}\" }}\n")
    };
    let gateway = url.clone();
    let bench = Bench::new(&node("/x?y=z"), |settings| settings.gateway_url = gateway);
    let called = bench
        .run(Work::Operation, vec![("input", given("1"))])
        .await;
    assert!(
        matches!(&called, Attempted::Called { attempt: 1, .. }),
        "{called:?}"
    );
    let (uri, headers, body) = seen.last();
    assert_eq!(uri, "/async-function/work/x?y=z");
    assert_eq!(body, "1");
    let callback = headers["x-callback-url"].to_str().unwrap();
    let (base, token) = callback.split_once("/callbacks/").unwrap();
    assert_eq!(base, format!("{url}/function/flows"));
    let waiting = bench.context.shared.tokens.verify(token).unwrap();
    assert_eq!((waiting.step.as_str(), waiting.attempt), ("n", 1));
    assert_eq!(waiting.request, bench.context.request);
    let gateway = url.clone();
    let refused = Bench::new(&node("/status/500"), |settings| {
        settings.gateway_url = gateway
    });
    assert_eq!(
        refused.failure(Work::Operation, "1").await.0,
        Cause::Transient
    );
}

#[tokio::test]
async fn a_step_that_takes_too_long_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bench = bench(&format!(
        "{{ http: \"{url}\", idempotent: false, timeout: 50ms }}"
    ));
    let (cause, message) = bench.failure(Work::Operation, "1").await;
    assert_eq!(cause, Cause::Timeout);
    assert_eq!(message, "http n took longer than its timeout of 50ms");
}
