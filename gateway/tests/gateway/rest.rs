//! `/system/…` and `/healthz`.

use http::StatusCode;

use crate::harness::*;

#[tokio::test]
async fn functions_are_described_with_the_field_names_of_openfaas() {
    let more = "      topic: orders\n    image: example.org/it:1\n    labels:\n      team: a\n    limits: {memory: 64Mi}\n";
    let gateway = TestGateway::with_stack(config(), &stack_of("python3 handler.py", more)).await;
    gateway.get("/function/it").await;
    let find = || async {
        let status = gateway.get("/system/function/it?usage=1").await.json();
        (status["invocationCount"] == 1).then_some(status)
    };
    let mut status = eventually(find).await;
    let usage = status.as_object_mut().unwrap().remove("usage").unwrap();
    assert!(usage["totalMemoryBytes"].as_f64().unwrap() > 0.0, "{usage}");
    let text = |field: &str| status[field].as_str().unwrap().to_owned();
    assert_eq!(text("name"), "it");
    assert_eq!(text("namespace"), "openfaas-fn");
    assert_eq!(text("image"), "example.org/it:1");
    assert_eq!(text("envProcess"), "python3 handler.py");
    assert_eq!(status["labels"]["team"], "a");
    assert_eq!(status["annotations"]["topic"], "orders");
    assert_eq!(status["limits"]["memory"], "64Mi");
    assert_eq!(status["replicas"], 1);
    assert_eq!(status["availableReplicas"], 1);
    assert!(text("createdAt").parse::<jiff::Timestamp>().is_ok());
    // Who does not ask is not told what it takes.
    let list = gateway.get("/system/functions").await.json();
    assert_eq!(list.as_array().unwrap(), &[status]);
    gateway.stop().await;
}

#[tokio::test]
async fn namespace_selects_and_an_empty_one_is_the_default() {
    let gateway = TestGateway::start().await;
    let nowhere = "127.0.0.1:9".parse().unwrap();
    for name in ["b", "a", "c.other"] {
        gateway.function(name, nowhere);
    }
    for (query, expected) in [
        ("", "a b"),
        ("?namespace=", "a b"),
        ("?namespace=openfaas-fn", "a b"),
        ("?namespace=other", "c"),
        ("?namespace=third", ""),
    ] {
        let list = gateway
            .get(&format!("/system/functions{query}"))
            .await
            .json();
        let names = list.as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|status| status["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.join(" "), expected, "{query}");
    }
    let status = |path: &'static str| async { gateway.get(path).await.status };
    assert_eq!(
        status("/system/function/c?namespace=other").await,
        StatusCode::OK
    );
    assert_eq!(status("/system/function/c").await, StatusCode::NOT_FOUND);
    assert_eq!(
        status("/system/function/Not_A_Name").await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(status("/system/nothing").await, StatusCode::NOT_FOUND);
    gateway.stop().await;
}

#[tokio::test]
async fn gateway_tells_that_it_is_up_and_what_it_is() {
    let gateway = TestGateway::start().await;
    assert_eq!(gateway.get("/healthz").await.status, StatusCode::OK);
    let info = gateway.get("/system/info").await.json();
    assert_eq!(info["provider"]["orchestration"], "processes");
    assert!(info["version"]["release"].is_string() && info["version"]["sha"].is_string());
    assert!(info["arch"].is_string());
    gateway.stop().await;
}
