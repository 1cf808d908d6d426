//! How many replicas there are: asked for, at an alert, none while nobody calls; and how calls find them.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::deploying::{images_of, with_images};
use crate::harness::*;

fn labelled(labels: &Value) -> Value {
    json!({ "service": "it", "image": "it", "labels": labels })
}

#[tokio::test]
async fn replicas_are_as_many_as_asked_for_within_the_bounds() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let it = labelled(&json!({ "com.openfaas.scale.min": "2", "com.openfaas.scale.max": "4" }));
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 2).await;
    let scale = |replicas: i64| {
        let wanted = json!({ "serviceName": "it", "replicas": replicas });
        async {
            gateway
                .ask(Method::POST, "/system/scale-function/it", &{ wanted })
                .await
        }
    };
    assert_eq!(scale(4).await.status, StatusCode::ACCEPTED);
    let status = gateway.available("it", 4).await;
    assert_eq!(status["replicas"], 4);
    assert_eq!(scale(1).await.status, StatusCode::ACCEPTED);
    gateway.available("it", 1).await;
    let over = scale(5).await;
    assert_eq!(over.status, StatusCode::BAD_REQUEST);
    assert!(over.text().contains("limit 4"), "{}", over.text());
    assert_eq!(scale(-1).await.status, StatusCode::BAD_REQUEST);
    let nowhere = json!({ "serviceName": "no", "replicas": 1 });
    let nowhere = gateway
        .ask(Method::POST, "/system/scale-function/no", &nowhere)
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    let metrics = get(gateway.metrics, "/metrics").await;
    let line = "gateway_service_count{function_name=\"it.openfaas-fn\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    gateway.stop().await;
}

#[tokio::test]
async fn alert_adds_replicas_and_its_end_takes_them_back() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let it = labelled(&json!({ "com.openfaas.scale.max": "4", "com.openfaas.scale.factor": "50" }));
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    let alert = |status: &str, function: &str| {
        let alert = json!({ "status": status, "labels": { "function_name": function } });
        let message = json!({ "version": "4", "receiver": "scale-up", "alerts": [alert] });
        async {
            gateway
                .ask(Method::POST, "/system/alert", &{ message })
                .await
                .status
        }
    };
    assert_eq!(alert("firing", "it.openfaas-fn").await, StatusCode::OK);
    gateway.available("it", 3).await;
    assert_eq!(alert("firing", "it").await, StatusCode::OK);
    gateway.available("it", 4).await;
    assert_eq!(alert("resolved", "it").await, StatusCode::OK);
    gateway.available("it", 1).await;
    assert_eq!(alert("firing", "no").await, StatusCode::NOT_FOUND);
    assert_eq!(alert("burning", "it").await, StatusCode::BAD_REQUEST);
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_nobody_calls_has_no_replica_until_somebody_does() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let it = labelled(&json!({
        "com.openfaas.scale.min": "2",
        "com.openfaas.scale.zero": "true",
        "com.openfaas.scale.zero-duration": "1s",
    }));
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 2).await;
    let status = gateway.available("it", 0).await;
    assert_eq!(status["replicas"], 0);
    // All of them wait for the one that is started.
    let call = || gateway.get("/function/it");
    let (one, two, three) = tokio::join!(call(), call(), call());
    for answer in [one, two, three] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let status = gateway.get("/system/function/it").await.json();
    assert_eq!(status["replicas"], 2);
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_is_scaled_to_none_and_cannot_start_keeps_its_caller_for_a_bounded_time() {
    let images = images_of(&[("it", "behaviour: sick")]);
    let gateway = TestGateway::with(turlough_gateway::GatewayConfig {
        start_timeout: Duration::from_secs(1),
        ..with_images(&images)
    })
    .await;
    gateway
        .accepted(Method::POST, "/system/functions", &labelled(&json!({})))
        .await;
    let none = json!({ "serviceName": "it", "replicas": 0 });
    gateway
        .accepted(Method::POST, "/system/scale-function/it", &none)
        .await;
    let answer = within(gateway.get("/function/it")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    gateway.stop().await;
}

#[tokio::test]
async fn replica_at_its_limit_takes_no_more_and_the_other_does() {
    let images = images_of(&[("it", "slow_s: \"2\"")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let it = json!({
        "service": "it",
        "image": "it",
        "envVars": { "max_inflight": "1" },
        "labels": { "com.openfaas.scale.min": "2" },
    });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 2).await;
    let call = || async {
        let request = Request::post("/function/it/slow").body(Full::from("x"));
        gateway.call(request.unwrap()).await.status
    };
    let later = || async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let request = Request::post("/function/it").body(Full::from("x"));
        let refused = gateway.call(request.unwrap()).await;
        assert_eq!(refused.headers["x-openfaas-internal"], "gateway");
        assert_eq!(refused.headers["retry-after"], "1");
        refused.status
    };
    let found = tokio::join!(call(), call(), later());
    let expected = (
        StatusCode::OK,
        StatusCode::OK,
        StatusCode::TOO_MANY_REQUESTS,
    );
    assert_eq!(found, expected);
    assert_eq!(call().await, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn call_that_waits_for_a_function_is_answered_when_that_is_removed() {
    let images = images_of(&[("it", "behaviour: sick")]);
    let gateway = TestGateway::with(turlough_gateway::GatewayConfig {
        start_timeout: 10 * LONG,
        ..with_images(&images)
    })
    .await;
    gateway
        .accepted(Method::POST, "/system/functions", &labelled(&json!({})))
        .await;
    let none = json!({ "serviceName": "it", "replicas": 0 });
    gateway
        .accepted(Method::POST, "/system/scale-function/it", &none)
        .await;
    let removing = async {
        let woken = || async {
            let status = gateway.get("/system/function/it").await.json();
            (status["replicas"] == 1).then_some(())
        };
        eventually(woken).await;
        let name = json!({ "functionName": "it" });
        gateway
            .accepted(Method::DELETE, "/system/functions", &name)
            .await;
    };
    let (answer, ()) = tokio::join!(within(gateway.get("/function/it")), removing);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    gateway.stop().await;
}
