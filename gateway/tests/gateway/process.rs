//! Functions as processes: their environment, start, restart and output.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use turlough_gateway::{Gateway, GatewayConfig, Stack};

use crate::harness::*;

#[tokio::test]
async fn function_runs_in_its_folder_and_is_told_where_it_is() {
    let more = "      com.openfaas.health.http.path: /_/up\n    environment:\n      health_path: /_/up\n      behaviour: none\n      port: 1\n";
    let gateway = TestGateway::with_stack(config(), &stack_of("python3 -u handler.py", more)).await;
    let about = gateway.get("/function/it").await.json();
    let environment = &about["environment"];
    let [started] = &gateway.started[..] else {
        panic!("one function started")
    };
    assert_eq!(started.function.to_string(), "it");
    assert_eq!(about["pid"], started.pid);
    assert!(started.ready_after > Duration::ZERO);
    assert_eq!(environment["port"], started.port.to_string());
    assert_eq!(environment["PORT"], started.port.to_string());
    assert_eq!(environment["TURLOUGH_FUNCTION"], "it");
    assert_eq!(environment["behaviour"], "none");
    assert_eq!(
        environment["TURLOUGH_GATEWAY_URL"],
        format!("http://{}", gateway.address)
    );
    // Set by cargo for this test, and inherited.
    assert_eq!(environment["CARGO_PKG_NAME"], "turlough-gateway");
    let folder = handlers().canonicalize().unwrap();
    assert_eq!(about["cwd"], folder.to_str().unwrap());
    gateway.stop().await;
}

#[tokio::test]
async fn function_that_dies_is_restarted_and_503_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let more = format!(
        "    environment:\n      behaviour: restart\n      folder: {}\n",
        folder.path().display()
    );
    let gateway = TestGateway::with_stack(config(), &stack_of("python3 handler.py", &more)).await;
    let first = gateway.get("/function/it").await.json()["pid"].clone();
    assert_eq!(
        gateway.get("/function/it/die").await.status,
        StatusCode::BAD_GATEWAY
    );
    let answer = eventually(|| async {
        let answer = gateway.get("/function/it").await;
        (answer.status != StatusCode::BAD_GATEWAY).then_some(answer)
    });
    let answer = answer.await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.headers["x-openfaas-internal"], "gateway");
    let status = gateway.get("/system/function/it").await.json();
    assert_eq!(
        (&status["replicas"], &status["availableReplicas"]),
        (&1.into(), &0.into())
    );
    std::fs::write(folder.path().join("go"), "").unwrap();
    let second = eventually(|| async {
        let answer = gateway.get("/function/it").await;
        (answer.status == StatusCode::OK).then(|| answer.json()["pid"].clone())
    });
    assert_ne!(first, second.await);
    gateway.stop().await;
}

#[tokio::test]
async fn crash_at_start_is_an_error_with_the_last_lines() {
    let message = start_error(config(), &python("crash")).await.to_string();
    for part in [
        "function `it`",
        "python3 handler.py",
        "exit status: 3",
        "before it was healthy",
        "reading the settings",
        "no database here",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn function_that_is_never_healthy_is_an_error_that_says_what_it_answered() {
    let limit = GatewayConfig {
        start_timeout: Duration::from_secs(3),
        ..config()
    };
    let message = start_error(limit, &python("sick")).await.to_string();
    for part in [
        "function `it`",
        "GET /_/health",
        "status 503",
        "not 200",
        "3s",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn command_that_does_not_exist_is_an_error_that_names_it() {
    for command in ["no-such-program --x", "./no-such-script"] {
        let message = start_error(config(), &stack_of(command, ""))
            .await
            .to_string();
        let expected = format!("cannot run `{command}`");
        assert!(
            message.contains(&expected) && message.contains("No such file"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn function_that_could_not_start_is_not_registered() {
    let gateway = Gateway::bind(config()).await.unwrap();
    let stack = stack_of("false", "");
    assert!(gateway.start_stack(&stack, |_| {}).await.is_err());
    let found = get(gateway.local_addr(), "/system/function/it").await;
    assert_eq!(found.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn functions_that_wait_for_their_turn_to_be_started_are_known_already() {
    let gateway = Gateway::bind(config()).await.unwrap();
    // More of them than are started at once, and none that is ever healthy.
    let mut text = "version: 1.0\nprovider: { name: openfaas }\nfunctions:\n".to_owned();
    for number in 0..8 {
        text.push_str(&format!(
            "  f{number}:\n    handler: .\n    annotations: {{ turlough.process: sleep 60 }}\n"
        ));
    }
    let stack = Stack::parse(Path::new("stack.yaml"), &text, HashMap::new()).unwrap();
    let called = async {
        for number in 0..8 {
            let found = get(gateway.local_addr(), &format!("/function/f{number}")).await;
            assert_eq!(found.status, StatusCode::SERVICE_UNAVAILABLE, "f{number}");
        }
    };
    tokio::select! {
        biased;
        started = gateway.start_stack(&stack, |_| {}) => panic!("it started: {started:?}"),
        () = called => {}
    }
}

#[tokio::test]
async fn output_goes_to_a_file_with_lines_cut_to_their_bound() {
    let folder = tempfile::tempdir().unwrap();
    let log_dir = Some(folder.path().join("logs"));
    let config = GatewayConfig {
        log_dir,
        ..config()
    };
    let gateway = TestGateway::with_stack(config, &python("talkative")).await;
    let file = folder.path().join("logs/it.log");
    let text = eventually(|| async {
        let text = std::fs::read_to_string(&file).unwrap();
        text.contains("line 2999\n").then_some(text)
    });
    let text = text.await;
    assert!(
        text.lines().all(|line| line.len() < 10_000),
        "a line is too long"
    );
    assert!(text.lines().next().unwrap().ends_with("(cut)"));
    let texts = text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap());
    let texts: Vec<_> = texts.collect();
    assert_eq!(texts[1..3], ["line 0", "line 1"]);
    gateway.stop().await;
}

#[tokio::test]
async fn taken_port_is_named_with_the_setting_that_changes_it() {
    let holder = TestGateway::start().await;
    let taken = GatewayConfig {
        listen: holder.address,
        listen_setting: "--here or HERE".into(),
        ..config()
    };
    let expected = |address, setting: &str| {
        format!(
            "cannot listen on {address}: address already in use; another process holds it, set {setting} to another"
        )
    };
    let message = Gateway::bind(taken).await.unwrap_err().to_string();
    assert_eq!(message, expected(holder.address, "--here or HERE"));
    let taken = GatewayConfig {
        metrics_listen: holder.metrics,
        metrics_listen_setting: "--there".into(),
        ..config()
    };
    let message = Gateway::bind(taken).await.unwrap_err().to_string();
    assert_eq!(message, expected(holder.metrics, "--there"));
    holder.stop().await;
}
