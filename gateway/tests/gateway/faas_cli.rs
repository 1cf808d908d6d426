//! What the real faas-cli sends, as it was recorded, and what it makes of the answers: with ours it
//! succeeds, and fails, where it did.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use serde_json::Value;

use crate::deploying::images_of;
use crate::harness::*;

#[derive(Deserialize)]
struct Command {
    args: Vec<String>,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
    answer_content_type: Option<String>,
    answer: String,
}

/// Where the gateway of the recording, which kept no namespaces, answered otherwise than one that does.
const NAMESPACE_WAS_NOT_KEPT: &str = "namespace get team-a";

#[tokio::test]
async fn each_recorded_command_finds_what_it_needs() {
    let (gateway, _folders) = with_password().await;
    let text = include_str!("../recordings/faas-cli.json");
    let commands: Vec<Command> = serde_json::from_str(text).unwrap();
    assert_eq!(commands.len(), 37);
    let mut exchanges = 0;
    for command in &commands {
        let args = command.args.join(" ");
        for exchange in &command.exchanges {
            compare(&gateway, &args, exchange).await;
            exchanges += 1;
        }
        if args.starts_with("deploy") {
            ready(&gateway).await;
        }
    }
    assert_eq!(exchanges, 36);
    gateway.stop().await;
}

/// What a user would type, what it ends with, and a part of what it prints.
const SCRIPT: &[(&str, i32, &str)] = &[
    ("list", 1, "Unauthorized"),
    ("login -u admin -p wrong", 1, "incorrect"),
    ("login -u admin -p s3cret", 0, "credentials saved"),
    ("version", 0, "turlough-gateway"),
    ("secret create key --from-literal k1", 0, "202"),
    ("secret create key --from-literal k1", 0, "already exists"),
    ("secret list", 0, "key"),
    ("secret update key --from-literal k2", 0, "202"),
    ("deploy -f stack.yml", 0, "Deployed. 202"),
    ("ready echo", 0, "is ready"),
    ("deploy -f stack.yml", 0, "Deployed. 202"),
    ("list -v", 0, "registry.example/echo:0.1.0"),
    ("describe echo", 0, "Available Replicas: 1"),
    ("describe nosuch", 1, "No such function"),
    ("invoke echo", 0, "hello"),
    ("invoke echo --async", 0, ""),
    ("logs echo --tail=false", 0, "heard 5 bytes"),
    ("namespace create team --label a=b", 0, "Created"),
    ("namespace get team", 0, "a: b"),
    ("namespace list", 0, "team"),
    ("namespace update team --label a=c", 0, "Updated"),
    ("list -n team", 0, "Function"),
    ("namespace delete team", 0, "Removed"),
    ("remove -f stack.yml", 0, "Removing"),
    ("remove nosuch", 1, "No existing function"),
    ("secret remove key", 0, "OK"),
    ("secret remove key", 1, "Unable to find"),
];

#[tokio::test]
async fn the_real_one_does_its_work_where_there_is_one() {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&paths).map(|folder| folder.join("faas-cli"));
    let Some(program) = program.into_iter().find(|program| program.is_file()) else {
        println!("skipped: there is no faas-cli on the PATH");
        return;
    };
    let (gateway, _folders) = with_password().await;
    let home = tempfile::tempdir().unwrap();
    let url = format!("http://{}", gateway.address);
    let stack = format!(
        "provider: {{name: openfaas, gateway: {url}}}\nfunctions:\n  echo:\n    lang: dockerfile\n    \
         handler: .\n    image: registry.example/echo:0.1.0\n    secrets: [key]\n"
    );
    std::fs::write(home.path().join("stack.yml"), stack).unwrap();
    for (args, status, part) in SCRIPT {
        let mut command = tokio::process::Command::new(&program);
        command
            .args(args.split(' '))
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("OPENFAAS_URL", &url)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // One that reads no input may be gone already.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut input, b"hello").await;
        drop(input);
        let output = within(child.wait_with_output()).await.unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        // It ends with 1 where it cannot look for a newer version of itself.
        let expected = if *args == "version" {
            output.status.code()
        } else {
            Some(*status)
        };
        assert_eq!(output.status.code(), expected, "faas-cli {args}: {text}");
        assert!(text.contains(part), "faas-cli {args}: {text}");
    }
    gateway.stop().await;
}

async fn with_password() -> (TestGateway, [tempfile::TempDir; 2]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("basic-auth-user"), "admin\n").unwrap();
    std::fs::write(folder.path().join("basic-auth-password"), "s3cret\n").unwrap();
    let images = images_of(&[("registry.example/echo:0.1.0", "")]);
    let gateway = TestGateway::with(turlough_gateway::GatewayConfig {
        basic_auth: Some(folder.path().to_owned()),
        images: Some(images.path().join("images.yaml")),
        ..config()
    });
    (gateway.await, [folder, images])
}

async fn compare(gateway: &TestGateway, args: &str, exchange: &Exchange) {
    let mut request = Request::builder()
        .method(exchange.method.parse::<Method>().unwrap())
        .uri(&exchange.path);
    for (name, value) in &exchange.headers {
        if !name.eq_ignore_ascii_case("content-length") {
            request = request.header(name, value);
        }
    }
    let body = Bytes::from(exchange.body.clone());
    let request = request.body(Full::from(body)).unwrap();
    let mut response = within(send(gateway.address, request)).await;
    let what = format!("{args}: {} {}", exchange.method, exchange.path);
    let expected = match args {
        NAMESPACE_WAS_NOT_KEPT => StatusCode::OK,
        _ => StatusCode::from_u16(exchange.status).unwrap(),
    };
    if response.status() != expected {
        let status = response.status();
        let answer = Answer::read(response).await;
        panic!("{what}: {status}, not {expected}: {}", answer.text());
    }
    if let Some(kind) = &exchange.answer_content_type {
        let found = response.headers()["content-type"].to_str().unwrap();
        assert!(found.starts_with(kind), "{what}: {found}");
    }
    if exchange.path.starts_with("/system/logs") {
        // It goes on for as long as somebody reads.
        let frame = within(response.body_mut().frame()).await.unwrap().unwrap();
        let lines = frame.into_data().unwrap();
        let line = lines.split(|&byte| byte == b'\n').next().unwrap();
        let recorded = exchange.answer.lines().next().unwrap();
        alike(
            &what,
            &json(recorded),
            &serde_json::from_slice(line).unwrap(),
        );
        return;
    }
    let answer = Answer::read(response).await;
    if exchange.answer_content_type.as_deref() == Some("application/json") {
        alike(&what, &json(&exchange.answer), &answer.json());
    } else if exchange.path.starts_with("/function/") {
        assert_eq!(answer.text(), exchange.answer, "{what}");
    }
}

/// Each field of what was recorded is there, of the same type; lists hold as much, or nothing where the
/// recording's gateway told of functions that are elsewhere.
fn alike(what: &str, recorded: &Value, found: &Value) {
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => {
            for (name, value) in recorded {
                let held = found.get(name);
                let held = held.unwrap_or_else(|| panic!("{what}: no {name} in {found:?}"));
                alike(&format!("{what}, {name}"), value, held);
            }
        }
        (Value::Array(recorded), Value::Array(found)) => {
            for (value, held) in recorded.iter().zip(found) {
                alike(what, value, held);
            }
            assert!(
                found.is_empty() == recorded.is_empty() || what.contains("team-a"),
                "{what}: {found:?}"
            );
        }
        (recorded, found) => assert_eq!(
            std::mem::discriminant(recorded),
            std::mem::discriminant(found),
            "{what}: {recorded} and {found}"
        ),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn ready(gateway: &TestGateway) {
    let ready = || async {
        let request =
            Request::get("/system/function/echo").header("authorization", "Basic YWRtaW46czNjcmV0");
        let status = gateway.call(request.body(Full::default()).unwrap()).await;
        (status.json()["availableReplicas"] == 1).then_some(())
    };
    eventually(ready).await;
}
