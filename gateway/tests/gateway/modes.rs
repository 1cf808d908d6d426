//! Functions that are no servers: a process for each request, or a folder; and what processes may take.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpStream;
use turlough_gateway::{GatewayConfig, Stack};

use crate::harness::*;

/// A stack of functions, each with its mode, command and further lines.
pub(crate) fn stack(functions: &[(&str, &str, &str, &str)]) -> Stack {
    let mut text = String::from("functions:\n");
    for (name, mode, command, more) in functions {
        let command = serde_json::to_string(command).unwrap();
        text.push_str(&format!(
            "  {name}:\n    handler: {}\n    annotations:\n      turlough.mode: {mode}\n      turlough.process: {command}\n{more}",
            handlers().display(),
        ));
    }
    Stack::parse(&handlers().join("stack.yaml"), &text, Default::default())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(crate) async fn post(gateway: &TestGateway, path: &str, body: impl Into<Bytes>) -> Answer {
    let request = Request::post(path).body(Full::from(body.into())).unwrap();
    within(gateway.call(request)).await
}

#[tokio::test]
async fn process_gets_the_request_and_its_output_is_the_answer() {
    let tells = "sh -c 'echo \"$Http_Method $Http_Path $Http_Query $Http_X_Thing\"; cat'";
    let kind = "    environment:\n      content_type: application/x-thing\n";
    let stack = stack(&[
        ("tells", "fork", tells, kind),
        ("cat", "fork", "cat", ""),
        ("deaf", "fork", "true", ""),
        (
            "fails",
            "fork",
            "sh -c 'echo half; echo what went wrong >&2; exit 3'",
            "",
        ),
    ]);
    let gateway = TestGateway::with_stack(config(), &stack).await;
    let request = Request::put("/function/tells/a/b?c=d")
        .header("x-thing", "thing")
        .body(Full::from("body"));
    let answer = gateway.call(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.text(), "PUT /a/b c=d thing\nbody");
    assert_eq!(answer.headers["content-type"], "application/x-thing");
    assert!(answer.headers.contains_key("x-call-id"));
    let large: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
    let answer = post(&gateway, "/function/cat", large.clone()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.body == large,
        "{} bytes came back",
        answer.body.len()
    );
    let answer = post(&gateway, "/function/deaf", large).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    let answer = post(&gateway, "/function/fails", "").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer.text().contains("exit status: 3"),
        "{}",
        answer.text()
    );
    let log = || async {
        let log = gateway.get("/system/logs?name=fails").await;
        log.text().contains("what went wrong").then_some(())
    };
    eventually(log).await;
    gateway.stop().await;
}

#[tokio::test]
async fn program_that_is_not_there_takes_nothing_away_and_answers_once_it_is() {
    let missing = stack(&[("it", "fork", "no-such-program", "")]);
    let error = start_error(config(), &missing).await.to_string();
    assert!(error.contains("`no-such-program`"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::start().await;
    let change = |method: Method, command: &str| {
        let annotations = json!({
            "turlough.process": command, "turlough.mode": "fork", "turlough.directory": folder.path(),
        });
        let it = json!({ "service": "it", "annotations": annotations });
        let gateway = &gateway;
        async move { gateway.accepted(method, "/system/functions", &it).await }
    };
    change(Method::POST, "echo before").await;
    gateway.available("it", 1).await;
    change(Method::PUT, "./program").await;
    for _ in 0..5 {
        let answer = post(&gateway, "/function/it", "").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "before\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let program = folder.path().join("program");
    std::fs::write(&program, "#!/bin/sh\necho after").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let after = || async {
        let answer = post(&gateway, "/function/it", "").await;
        (answer.text() == "after\n").then_some(())
    };
    eventually(after).await;
    gateway.stop().await;
}

#[tokio::test]
async fn long_answer_streams_and_breaks_off_where_its_process_fails() {
    let command = "sh -c 'head -c 1000000 /dev/zero; exit 3'";
    let gateway = TestGateway::with_stack(config(), &stack(&[("it", "fork", command, "")])).await;
    let request = Request::get("/function/it").body(Full::default()).unwrap();
    let response = send(gateway.address, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body = http_body_util::BodyExt::collect(response.into_body());
    assert!(within(body).await.is_err(), "a part passed for the whole");
    gateway.stop().await;
}

#[tokio::test]
async fn process_past_its_time_its_number_or_its_caller_is_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let sleeps = format!("sh -c 'echo $$ > {}; exec sleep 60'", pid.display());
    let timed = "    environment:\n      exec_timeout: 300ms\n";
    let one = "    environment:\n      max_inflight: \"1\"\n";
    let stack = stack(&[
        ("timed", "fork", &sleeps, timed),
        ("one", "fork", "sh -c 'cat; sleep 1'", one),
        ("left", "fork", &sleeps, ""),
    ]);
    let gateway = TestGateway::with_stack(config(), &stack).await;
    let gone = || async {
        let pid: u64 = std::fs::read_to_string(&pid).ok()?.trim().parse().ok()?;
        (!runs(pid)).then_some(())
    };
    let answer = post(&gateway, "/function/timed", "").await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    eventually(gone).await;
    let (first, second) = tokio::join!(post(&gateway, "/function/one", "1"), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        post(&gateway, "/function/one", "2").await
    });
    assert_eq!((first.status, first.text()), (StatusCode::OK, "1"));
    assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
    std::fs::remove_file(&pid).unwrap();
    let request = Request::get("/function/left")
        .body(Full::default())
        .unwrap();
    let call = send(gateway.address, request);
    assert!(
        tokio::time::timeout(Duration::from_millis(700), call)
            .await
            .is_err()
    );
    eventually(gone).await;
    gateway.stop().await;
}

#[tokio::test]
async fn headers_are_told_without_those_that_would_say_something_else() {
    let tells = "sh -c 'echo \"$Http_Method $Http_Path $Http_Query $Http_X_Thing [$Http_Proxy]\"'";
    let gateway = TestGateway::with_stack(config(), &stack(&[("it", "fork", tells, "")])).await;
    let request = Request::put("/function/it/a?b=c")
        .header("method", "DELETE")
        .header("path", "/forged")
        .header("query", "forged")
        .header("proxy", "http://example.org")
        .header("x-thing", "first")
        .header("x-thing", "second")
        .body(Full::default());
    let answer = gateway.call(request.unwrap()).await;
    assert_eq!(answer.text(), "PUT /a b=c first []\n");
    gateway.stop().await;
}

#[tokio::test]
async fn body_that_breaks_off_is_no_whole_one_for_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (pid, part, whole) = (path("pid"), path("part"), path("whole"));
    let keeps = format!("sh -c 'echo $$ > {pid}; cat > {part}; echo > {whole}; sleep 60'");
    let gateway = TestGateway::with_stack(config(), &stack(&[("it", "fork", &keeps, "")])).await;
    for end in ["", "no number\r\n"] {
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        let head = "POST /function/it HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        write(&mut caller, head).await;
        write(&mut caller, "5\r\nhello\r\n").await;
        let heard = || async {
            let text = std::fs::read_to_string(&part).ok()?;
            (text == "hello").then_some(())
        };
        eventually(heard).await;
        if end.is_empty() {
            drop(caller);
        } else {
            write(&mut caller, end).await;
        }
        let pid: u64 = std::fs::read_to_string(&pid)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        eventually(|| async { (!runs(pid)).then_some(()) }).await;
        assert!(!std::fs::exists(&whole).unwrap(), "{end:?}");
        std::fs::remove_file(&part).unwrap();
    }
    gateway.stop().await;
}

#[tokio::test]
async fn process_past_its_time_is_no_more_though_nobody_reads_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let writes = format!("sh -c 'echo $$ > {}; exec yes'", pid.display());
    let timed = "    environment:\n      exec_timeout: 300ms\n";
    let gateway =
        TestGateway::with_stack(config(), &stack(&[("it", "fork", &writes, timed)])).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    write(&mut caller, "GET /function/it HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let gone = || async {
        let pid: u64 = std::fs::read_to_string(&pid).ok()?.trim().parse().ok()?;
        (!runs(pid)).then_some(())
    };
    eventually(gone).await;
    drop(caller);
    gateway.stop().await;
}

#[tokio::test]
async fn process_may_take_as_long_as_a_call_unless_it_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let sleeps = format!("sh -c 'echo $$ > {}; exec sleep 600'", pid.display());
    let endless = "    environment:\n      exec_timeout: 9223372036854775807s\n";
    let stack = stack(&[
        ("it", "fork", &sleeps, ""),
        ("endless", "fork", "cat", endless),
    ]);
    let brief = GatewayConfig {
        upstream_timeout: Duration::from_secs(1),
        ..config()
    };
    let gateway = TestGateway::with_stack(brief, &stack).await;
    let answer = post(&gateway, "/function/endless", "body").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "body"));
    // What it does not read keeps its connection from being heard.
    let answer = post(&gateway, "/function/it", vec![0; 10_000_000]).await;
    assert!(answer.status.is_server_error(), "{}", answer.status);
    let gone = || async {
        let pid: u64 = std::fs::read_to_string(&pid).ok()?.trim().parse().ok()?;
        (!runs(pid)).then_some(())
    };
    eventually(gone).await;
    gateway.stop().await;
}

#[tokio::test]
async fn process_of_a_request_ends_with_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let sleeps = format!("sh -c 'echo $$ > {}; exec sleep 60'", pid.display());
    let gateway = TestGateway::with_stack(config(), &stack(&[("it", "fork", &sleeps, "")])).await;
    let address = gateway.address;
    let call = tokio::spawn(async move {
        let request = Request::get("/function/it").body(Full::default()).unwrap();
        send(address, request).await.status()
    });
    let read = || async {
        std::fs::read_to_string(&pid)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let pid = eventually(read).await;
    assert!(runs(pid));
    gateway.stop().await;
    eventually(|| async { (!runs(pid)).then_some(()) }).await;
    call.abort();
}

#[tokio::test]
async fn files_of_a_folder_are_served_and_nothing_outside_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    std::fs::write(folder.path().join("site/index.html"), "<p>hello").unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let text =
        "functions:\n  it:\n    handler: site\n    annotations:\n      turlough.mode: static\n";
    let stack = Stack::parse(&folder.path().join("stack.yaml"), text, Default::default()).unwrap();
    let gateway = TestGateway::with_stack(config(), &stack).await;
    for path in ["/function/it/", "/function/it/index.html"] {
        let answer = gateway.get(path).await;
        assert_eq!(
            (answer.status, answer.text()),
            (StatusCode::OK, "<p>hello"),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "text/html");
    }
    for path in [
        "/function/it/none",
        "/function/it/../secret",
        "/function/it/%2e%2e/secret",
    ] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(
        post(&gateway, "/function/it/", "x").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    gateway.stop().await;
}

#[tokio::test]
async fn memory_past_the_limit_is_refused_to_the_process_and_to_nobody_else() {
    let limits = "    limits: {memory: 200Mi}\n";
    let takes = "python3 -c 'print(len(bytearray(int(input()))))'";
    let stack = stack(&[
        ("forked", "fork", takes, limits),
        ("served", "http", "python3 handler.py", limits),
        ("free", "http", "python3 handler.py", ""),
    ]);
    let gateway = TestGateway::with_stack(config(), &stack).await;
    let answer = post(&gateway, "/function/forked", "50000000").await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::OK, "50000000\n")
    );
    let answer = post(&gateway, "/function/forked", "300000000").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let log = || async {
        let log = gateway.get("/system/logs?name=forked").await;
        log.text().contains("MemoryError").then_some(())
    };
    eventually(log).await;
    // One that leaks comes to its limit, and fails there.
    let mut leaked = 0;
    while post(&gateway, "/function/served/leak", "50000000")
        .await
        .status
        == StatusCode::OK
    {
        leaked += 1;
        assert!(leaked < 5, "it took {leaked} times 50 MB");
    }
    assert!(leaked >= 1);
    let answer = post(&gateway, "/function/free/leak", "300000000").await;
    assert_eq!(answer.status, StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn process_that_leaves_its_group_is_found_and_goes_too() {
    let gateway = TestGateway::with_stack(config(), &python("escape")).await;
    let about = gateway.get("/function/it").await.json();
    let escaped: u64 = about["environment"]["escaped"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let child = about["child"].as_u64().unwrap();
    assert!(runs(escaped) && runs(child));
    gateway.stop().await;
    // What is killed is gone a moment later.
    let gone = || async { (!runs(escaped) && !runs(child)).then_some(()) };
    eventually(gone).await;
}

#[tokio::test]
async fn what_a_requests_process_leaves_behind_goes_too() {
    let leaves = "sh -c 'setsid sleep 60 >/dev/null 2>&1 & echo $!'";
    let gateway = TestGateway::with_stack(config(), &stack(&[("it", "fork", leaves, "")])).await;
    let answer = post(&gateway, "/function/it", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let left: u64 = answer.text().trim().parse().unwrap();
    eventually(|| async { (!runs(left)).then_some(()) }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn command_in_the_place_of_an_image_is_run_as_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images.yaml");
    std::fs::write(&images, "images:\n  cat: {process: cat, mode: fork}\n").unwrap();
    let gateway = TestGateway::with(GatewayConfig {
        images: Some(images),
        ..config()
    })
    .await;
    let it = |image: &str, annotations| json!({ "service": "it", "image": image, "annotations": annotations });
    let nowhere = json!({ "turlough.process": "-", "turlough.mode": "static" });
    let refused = gateway
        .ask(Method::POST, "/system/functions", &it("any", nowhere))
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let why = "write turlough.directory";
    assert!(refused.text().contains(why), "{}", refused.text());
    let other = json!({ "turlough.process": "echo other" });
    gateway
        .accepted(Method::POST, "/system/functions", &it("cat", other))
        .await;
    gateway.available("it", 1).await;
    let answer = post(&gateway, "/function/it", "").await;
    assert_eq!(answer.text(), "other\n");
    gateway.stop().await;
}

#[test]
fn modes_and_limits_that_there_are_not_are_refused() {
    let parse = |more: &str| {
        let text = format!(
            "functions:\n  it:\n    handler: .\n    annotations: {{turlough.process: cat, turlough.mode: fork}}\n{more}"
        );
        Stack::parse(&handlers().join("stack.yaml"), &text, Default::default())
    };
    assert!(parse("").is_ok());
    let error = parse("    limits: {memory: lots}\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("limits.memory is `lots`") && error.contains("128Mi"),
        "{error}"
    );
    let text = "functions:\n  it:\n    handler: .\n    annotations: {turlough.process: cat, turlough.mode: often}\n";
    let error = Stack::parse(&handlers().join("stack.yaml"), text, Default::default()).unwrap_err();
    assert!(
        error.to_string().contains("`often` is not a mode"),
        "{error}"
    );
}
