//! `/system/secrets`, and what functions get of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use http::{Method, StatusCode};
use serde_json::json;
use turlough_gateway::GatewayConfig;

use crate::deploying::{images_of, with_images};
use crate::harness::*;

#[tokio::test]
async fn function_reads_the_secrets_that_it_was_given_and_no_others() {
    let images = images_of(&[("it", "")]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(GatewayConfig {
        folder: Some(folder.path().join("state")),
        ..with_images(&images)
    })
    .await;
    for name in ["one", "two"] {
        let secret = json!({ "name": name, "value": name });
        gateway
            .accepted(Method::POST, "/system/secrets", &secret)
            .await;
    }
    let raw = json!({ "name": "raw", "rawValue": "AP8=" });
    gateway
        .accepted(Method::POST, "/system/secrets", &raw)
        .await;
    let it = json!({ "service": "it", "image": "it", "secrets": ["one", "raw"] });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    let about = gateway.about("it").await;
    let given = about["environment"]["secret_mount_path"].as_str().unwrap();
    let given = Path::new(given);
    assert_eq!(std::fs::read(given.join("one")).unwrap(), b"one");
    assert_eq!(std::fs::read(given.join("raw")).unwrap(), [0, 255]);
    assert!(!given.join("two").exists());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&given.join("one")), 0o600);
    assert_eq!(mode(given), 0o700);
    // A value that is changed is what the function reads next.
    let changed = json!({ "name": "one", "value": "changed" });
    gateway
        .accepted(Method::PUT, "/system/secrets", &changed)
        .await;
    assert_eq!(std::fs::read(given.join("one")).unwrap(), b"changed");
    let list = gateway.get("/system/secrets").await;
    assert!(!list.text().contains("changed"), "{}", list.text());
    let names: Vec<_> = list
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, ["one", "raw", "two"]);
    gateway
        .accepted(Method::DELETE, "/system/secrets", &json!({ "name": "one" }))
        .await;
    assert!(std::fs::read(given.join("one")).is_err());
    gateway
        .accepted(
            Method::DELETE,
            "/system/functions",
            &json!({ "functionName": "it" }),
        )
        .await;
    eventually(|| async { (!given.exists()).then_some(()) }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn function_keeps_its_secrets_until_another_has_taken_its_place() {
    let images = images_of(&[("good", ""), ("bad", "behaviour: crash")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    for name in ["one", "two"] {
        let secret = json!({ "name": name, "value": name });
        gateway
            .accepted(Method::POST, "/system/secrets", &secret)
            .await;
    }
    let change = |method: Method, image: &str, secret: &str| {
        let it = json!({ "service": "it", "image": image, "secrets": [secret] });
        let gateway = &gateway;
        async move { gateway.accepted(method, "/system/functions", &it).await }
    };
    let given = || async {
        let about = gateway.about("it").await;
        let given = about["environment"]["secret_mount_path"].as_str();
        Path::new(given.unwrap()).to_owned()
    };
    change(Method::POST, "good", "one").await;
    gateway.available("it", 1).await;
    let before = given().await;
    change(Method::PUT, "bad", "two").await;
    assert_eq!(given().await, before);
    assert!(before.join("one").exists() && !before.join("two").exists());
    change(Method::PUT, "good", "two").await;
    let changed = || async { Some(given().await).filter(|given| *given != before) };
    let after = eventually(changed).await;
    assert!(after.join("two").exists() && !after.join("one").exists());
    gateway.stop().await;
}

#[tokio::test]
async fn gateway_of_root_lays_secrets_where_functions_of_openfaas_look() {
    let may = std::process::Command::new("unshare")
        .args(["--mount", "true"])
        .status();
    if !may.is_ok_and(|status| status.success()) {
        println!("skipped: only who may mount has secrets at /var/openfaas/secrets");
        return;
    }
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    for name in ["one", "two"] {
        let secret = json!({ "name": name, "value": name });
        gateway
            .accepted(Method::POST, "/system/secrets", &secret)
            .await;
    }
    let it = json!({ "service": "it", "image": "it", "secrets": ["one"] });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    let about = gateway.about("it").await;
    assert_eq!(about["secrets"], json!(["one"]));
    // They stay there for a process that is deployed once more as it is.
    gateway
        .accepted(Method::PUT, "/system/functions", &it)
        .await;
    let again = gateway.about("it").await;
    assert_eq!(
        (&again["pid"], &again["secrets"]),
        (&about["pid"], &json!(["one"]))
    );
    // Nobody else sees them there.
    let here = std::fs::read_dir("/var/openfaas/secrets").unwrap();
    assert!(
        !here
            .map(|entry| entry.unwrap().file_name())
            .any(|name| name == "one")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn secrets_of_a_gateway_without_a_folder_go_with_it() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let secret = json!({ "name": "one", "value": "1" });
    gateway
        .accepted(Method::POST, "/system/secrets", &secret)
        .await;
    let it = json!({ "service": "it", "image": "it", "secrets": ["one"] });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    let about = gateway.about("it").await;
    let given = about["environment"]["secret_mount_path"]
        .as_str()
        .unwrap()
        .to_owned();
    let value = std::fs::canonicalize(Path::new(&given).join("one")).unwrap();
    gateway.stop().await;
    assert!(!value.exists() && !Path::new(&given).exists());
}

#[tokio::test]
async fn secrets_that_cannot_be_are_refused() {
    let gateway = TestGateway::start().await;
    let there = json!({ "name": "there", "value": "1" });
    gateway
        .accepted(Method::POST, "/system/secrets", &there)
        .await;
    let long = "a".repeat(254);
    let large = "x".repeat((1 << 20) + 1);
    for (method, body, expected) in [
        (
            Method::POST,
            json!({ "name": "../../etc/passwd", "value": "x" }),
            400,
        ),
        (Method::POST, json!({ "name": "a/b", "value": "x" }), 400),
        (Method::POST, json!({ "name": "..", "value": "x" }), 400),
        (Method::POST, json!({ "name": "", "value": "x" }), 400),
        (Method::POST, json!({ "name": long, "value": "x" }), 400),
        (Method::POST, json!({ "name": "a", "value": large }), 400),
        (Method::POST, json!({ "name": "a", "rawValue": "?" }), 400),
        (Method::POST, json!({ "name": "a", "value": 1 }), 400),
        (
            Method::POST,
            json!({ "name": "a", "value": "x", "namespace": "no" }),
            400,
        ),
        (
            Method::POST,
            json!({ "name": "a", "value": "x", "namespace": "../x" }),
            400,
        ),
        (Method::POST, json!({ "name": "there", "value": "2" }), 409),
        (Method::PUT, json!({ "name": "a", "value": "x" }), 404),
        (Method::DELETE, json!({ "name": "a" }), 404),
        (Method::DELETE, json!({ "name": "../there" }), 400),
    ] {
        let answer = gateway.ask(method.clone(), "/system/secrets", &body).await;
        let shown = body["name"].as_str().unwrap_or_default();
        assert_eq!(
            answer.status,
            expected,
            "{method} {shown}: {}",
            answer.text()
        );
    }
    let unknown = gateway.get("/system/secrets?namespace=no").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let list = gateway.get("/system/secrets").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    gateway.stop().await;
}
