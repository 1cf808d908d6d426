//! Metric names, labels and values after calls.

use crate::harness::*;

#[tokio::test]
async fn calls_are_counted_and_timed_by_function_and_code() {
    let gateway = TestGateway::start().await;
    let address = function(|mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            if head.starts_with("GET /close") {
                return;
            }
            write(&mut stream, "HTTP/1.1 418 x\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    gateway.function("it", address.await);
    for path in [
        "/function/it",
        "/function/it.openfaas-fn/x",
        "/function/it/close",
    ] {
        gateway.get(path).await;
    }
    gateway.get("/function/nobody").await;
    let find = || async {
        let text = get(gateway.metrics, "/metrics").await.text().to_owned();
        text.contains("code=\"502\"").then_some(text)
    };
    let text = eventually(find).await;
    let it = "function_name=\"it.openfaas-fn\"";
    for line in [
        format!("gateway_function_invocation_total{{code=\"418\",{it}}} 2"),
        format!("gateway_function_invocation_total{{code=\"502\",{it}}} 1"),
        format!("gateway_functions_seconds_count{{code=\"418\",{it}}} 2"),
        format!("gateway_functions_seconds_bucket{{code=\"418\",{it},le=\"+Inf\"}} 2"),
        format!("gateway_function_invocation_started{{{it}}} 3"),
        format!("gateway_service_count{{{it}}} 1"),
        "# TYPE gateway_functions_seconds histogram".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("nobody"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn metrics_are_not_on_the_port_of_the_functions() {
    let gateway = TestGateway::start().await;
    assert_eq!(gateway.get("/metrics").await.status, 404);
    gateway.stop().await;
}
