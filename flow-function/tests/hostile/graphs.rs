//! Graphs and flows that cannot be run, made at run time or put.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::platform::Platform;
use super::platform::endpoint::Endpoint;
use super::{MEMORY, memory_peak, refused, serves_on, serving};

/// Graphs that are no graphs, and what is said of each.
fn bad_graphs() -> Vec<(Json, &'static str)> {
    let many: serde_json::Map<_, _> = (0..21_000)
        .map(|n| (format!("n{n}"), json!({ "pass": "." })))
        .collect();
    let chain = |n: usize| json!({ "for_each": { "items": ".", "body": { "nodes": { (format!("n{n}")): { "pass": "." } } } } });
    let deep = (0..9).fold(chain(0), |inner, n| {
        json!({ "for_each": { "items": ".", "body": { "nodes": { (format!("n{n}")): inner } } } })
    });
    let brackets = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    vec![
        (
            json!({ "nodes": { "a": { "after": ["b"], "pass": "." }, "b": { "after": ["a"], "pass": "." } } }),
            "cycle",
        ),
        (
            json!({ "nodes": { "a": { "after": ["a"], "pass": "." } } }),
            "a",
        ),
        (json!({ "nodes": {} }), "node"),
        (
            json!({ "nodes": { "a": { "after": ["nobody"], "pass": "." } } }),
            "nobody",
        ),
        (
            json!({ "nodes": { "a": { "pass": "." } }, "output": "b" }),
            "b",
        ),
        (json!({ "nodes": { "a": { "dance": "." } } }), "dance"),
        (json!({ "nodes": { "a": { "map": "secret" } } }), "secret"),
        (json!({ "nodes": { "a": { "pass": "}{" } } }), "jq"),
        (json!({ "nodes": { "../x": { "pass": "." } } }), "../x"),
        (json!({ "nodes": { "a\r\nb": { "pass": "." } } }), ""),
        (
            json!({ "nodes": { ("n".repeat(64)): { "pass": "." } } }),
            "63",
        ),
        (json!({ "nodes": { "a": { "wait": "900y" } } }), "900y"),
        (json!({ "nodes": { "a": { "wait": "-5s" } } }), "-5s"),
        (json!({ "nodes": { "a": deep } }), "8"),
        (json!({ "nodes": many }), "limit"),
        (json!(3), "graph"),
        (json!([]), "graph"),
        (Json::Null, "graph"),
        (json!("nodes: ["), "graph"),
        (json!("&a [*a, *a]"), "graph"),
        (json!(brackets(5_000)), "graph"),
        (json!("x".repeat(500_000)), "limit 393216"),
    ]
}

#[tokio::test]
async fn a_graph_made_at_run_time_that_is_none_fails_its_step_with_what_is_wrong() {
    let platform = serving(&["flow: make\nnodes: { make: { expand: { pass: . } } }"]).await;
    for (graph, named) in bad_graphs() {
        let detail = refused(&platform, "/make", &graph).await;
        let about: String = graph.to_string().chars().take(100).collect();
        assert!(detail.starts_with("step make:"), "{about}: {detail}");
        assert!(detail.contains(named), "{about}: {detail}");
    }
    serves_on(&platform).await;
}

#[tokio::test]
async fn aliases_that_grow_a_thousandfold_are_refused_before_they_are_read() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(", "));
    }
    text += "nodes: { a: { pass: . } }\n";
    let platform = serving(&["flow: make\nnodes: { make: { expand: { pass: . } } }"]).await;
    let _alone = MEMORY.lock().await;
    let before = memory_peak();
    refused(&platform, "/make", &json!(text)).await;
    let answer = put(&platform, "bomb", format!("flow: bomb\n{text}")).await;
    assert!([400, 413, 422].contains(&answer.0), "{}", answer.1);
    assert!(memory_peak() - before < 256 << 20);
    serves_on(&platform).await;
}

#[tokio::test]
async fn a_graph_that_makes_itself_for_ever_ends_at_its_limits() {
    let deep = "flow: deep\nnodes: { make: { expand: { apply: deeper } } }";
    let wide = "
flow: wide
nodes:
  many:
    for_each: { items: '[range(8)]', max_parallel: 8, body: { nodes: { make: { expand: { apply: wider } } } } }
";
    let platform = serving(&[deep, wide]).await;
    let made = AtomicU32::new(0);
    let deeper = Endpoint::start(move |_| {
        let name = format!("make{}", made.fetch_add(1, Ordering::SeqCst));
        let graph = json!({ "nodes": { (name): { "expand": { "apply": "deeper" } } } });
        async move { axum::Json(graph).into_response() }
    });
    let deeper = deeper.await;
    platform.serve("deeper", &deeper);
    let wider = Endpoint::start(|_| async {
        let node = |n| (format!("n{n}"), json!({ "wait": "1h" }));
        let nodes: serde_json::Map<_, _> = (0..15_000).map(node).collect();
        axum::Json(json!({ "nodes": nodes })).into_response()
    });
    platform.serve("wider", &wider.await);
    let detail = refused(&platform, "/deep", &json!(1)).await;
    assert!(detail.contains("16"), "{detail}");
    let calls = deeper.received().len();
    assert!(calls <= 17, "{calls}");
    let id = platform.begin("/wide", "1").await;
    // The list alone is asked again and again: to show all steps of so many takes seconds.
    let settled = |list: &Json| list["requests"][0]["settled"] == true;
    let list = platform.until("/requests?flow=wide", settled).await;
    let row = &list["requests"][0];
    assert_eq!(row["id"], id.as_str());
    assert!(row["error"].to_string().contains("100000"), "{row}");
    serves_on(&platform).await;
}

async fn put(platform: &Platform, name: &str, flow: impl Into<reqwest::Body>) -> (u16, Json) {
    let call = platform.http.put(format!("{}/flows/{name}", platform.url));
    let call = call
        .header("content-type", "text/yaml")
        .timeout(Duration::from_secs(60));
    let answer = call.body(flow).send().await.unwrap();
    let media = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let status = answer.status().as_u16();
    assert!(
        status < 400 || media == "application/problem+json",
        "{status} {media}"
    );
    (status, answer.json().await.unwrap())
}

#[tokio::test]
async fn a_flow_that_is_put_and_cannot_be_read_is_refused_with_every_problem() {
    let platform = serving(&[]).await;
    let nodes: String = (0..21_000)
        .map(|n| format!("  n{n}: {{ pass: . }}\n"))
        .collect();
    let large = format!(
        "flow: x\nnodes:\n  a: {{ pass: . }}\n# {}",
        "x".repeat(9 << 20)
    );
    let hostile: Vec<(Vec<u8>, u16)> = vec![
        (Vec::new(), 422),
        (b"\0\0\0".to_vec(), 422),
        (b"\xff\xfe".to_vec(), 400),
        (b"[".repeat(100_000), 422),
        (b"{".repeat(100_000), 422),
        (b"- ".repeat(100_000), 422),
        (b"flow: x\nnodes: 3".to_vec(), 422),
        (b"flow: x\nnodes: {}".to_vec(), 422),
        (b"flow: ../x\nnodes: { a: { pass: . } }".to_vec(), 422),
        (b"flow: x\nflow: x\nnodes: { a: { pass: . } }".to_vec(), 422),
        (b"flow: x\nnodes: { a: { pass: . }, a: { pass: . } }".to_vec(), 422),
        (b"flow: x\nnodes: { a: { after: [a], pass: . } }".to_vec(), 422),
        (b"flow: x\nnodes: { a: { pass: '}' }, b: { apply: 'x y' }, c: { after: [z], pass: . } }".to_vec(), 422),
        (b"flow: x\ntimeout: 900y\nnodes: { a: { pass: . } }".to_vec(), 422),
        (b"flow: x\ntimeout: -1s\nnodes: { a: { pass: . } }".to_vec(), 422),
        (b"flow: x\nconcurrency: 0\nnodes: { a: { pass: . } }".to_vec(), 422),
        (b"flow: y\nnodes: { a: { pass: . } }".to_vec(), 422),
        (b"flow: x\nnodes: { a: { pass: . } }\n---\nflow: y\nnodes: { a: { pass: . } }".to_vec(), 422),
        (format!("flow: x\nnodes:\n{nodes}").into_bytes(), 422),
        (large.into_bytes(), 413),
    ];
    for (text, expected) in hostile {
        let about = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
        let (status, problem) = put(&platform, "x", text).await;
        assert_eq!(status, expected, "{about}: {problem}");
        if status == 422 {
            let problems = problem["problems"].as_array().unwrap();
            assert!(
                !problems.is_empty() && problems.len() <= 50,
                "{about}: {problem}"
            );
        }
        assert!(problem.to_string().len() < 50_000, "{about}");
    }
    let three =
        b"flow: x\nnodes:\n  a: { pass: '}' }\n  b: { apply: 'x y' }\n  c: { after: [z], pass: . }";
    let (_, problem) = put(&platform, "x", three.to_vec()).await;
    let lines: Vec<_> = problem["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["line"].as_u64())
        .collect();
    assert_eq!(lines, [Some(3), Some(4), Some(5)], "{problem}");
    for reserved in ["flows", "requests", "callbacks", "metrics", "schema"] {
        let (status, problem) = put(
            &platform,
            reserved,
            format!("flow: {reserved}\nnodes: {{ a: {{ pass: . }} }}"),
        )
        .await;
        assert_eq!(status, 422, "{problem}");
    }
    assert_eq!(
        platform.json("/flows").await["flows"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    serves_on(&platform).await;
}
