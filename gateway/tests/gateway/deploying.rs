//! Functions that are deployed, changed and removed over REST.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;
use turlough_gateway::{Gateway, GatewayConfig};

use crate::harness::*;

/// A folder with `images.yaml`: each image runs `handler.py` with these variables.
pub(crate) fn images_of(images: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "images:\n".to_owned();
    for (image, variables) in images {
        text.push_str(&format!(
            "  {image}:\n    process: python3 handler.py\n    directory: {}\n    environment: {{{variables}}}\n",
            handlers().display(),
        ));
    }
    std::fs::write(folder.path().join("images.yaml"), text).unwrap();
    folder
}

pub(crate) fn with_images(folder: &TempDir) -> GatewayConfig {
    GatewayConfig {
        images: Some(folder.path().join("images.yaml")),
        ..config()
    }
}

impl TestGateway {
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let body = Bytes::from(body.to_string());
        self.call(request.body(Full::from(body)).unwrap()).await
    }

    /// Asks for something that is accepted.
    pub(crate) async fn accepted(&self, method: Method, path: &str, body: &Value) {
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        assert!(answer.body.is_empty(), "{}", answer.text());
    }

    /// Waits until a function has so many replicas that answer; returns what is told of it.
    pub(crate) async fn available(&self, name: &str, replicas: usize) -> Value {
        let path = format!("/system/function/{name}");
        let found = || async {
            let status = self.get(&path).await.json();
            (status["availableReplicas"] == replicas).then_some(status)
        };
        eventually(found).await
    }

    /// What the function says of itself.
    pub(crate) async fn about(&self, name: &str) -> Value {
        let answer = self.get(&format!("/function/{name}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }
}

#[tokio::test]
async fn function_is_deployed_changed_and_removed() {
    let images = images_of(&[("example.org/it", "of_image: one, both: image")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let mut it = json!({
        "service": "it",
        "image": "example.org/it:1",
        "envVars": { "both": "deployment" },
        "labels": { "team": "a" },
        "somethingNew": null,
        "secrets": null,
    });
    let missing = gateway.ask(Method::PUT, "/system/functions", &it).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    let status = gateway.available("it", 1).await;
    assert_eq!(status["image"], "example.org/it:1");
    assert_eq!(status["envVars"]["both"], "deployment");
    let about = gateway.about("it").await;
    assert_eq!(about["environment"]["of_image"], "one");
    assert_eq!(about["environment"]["both"], "deployment");
    let twice = gateway.ask(Method::POST, "/system/functions", &it).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    // The same once more leaves the process alone.
    gateway
        .accepted(Method::PUT, "/system/functions", &it)
        .await;
    assert_eq!(gateway.about("it").await["pid"], about["pid"]);
    it["envVars"]["both"] = json!("changed");
    gateway
        .accepted(Method::PUT, "/system/functions", &it)
        .await;
    let changed = || async {
        let about = gateway.about("it").await;
        (about["environment"]["both"] == "changed").then_some(())
    };
    eventually(changed).await;
    let pid = about["pid"].as_u64().unwrap();
    eventually(|| async { (!runs(pid)).then_some(()) }).await;
    let pid = gateway.about("it").await["pid"].as_u64().unwrap();
    let name = json!({ "functionName": "it" });
    gateway
        .accepted(Method::DELETE, "/system/functions", &name)
        .await;
    let gone = gateway.get("/function/it").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    eventually(|| async { (!runs(pid)).then_some(()) }).await;
    let again = gateway
        .ask(Method::DELETE, "/system/functions", &name)
        .await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn call_in_flight_ends_while_its_function_is_replaced_and_removed() {
    let images = images_of(&[("it", "slow_s: \"2\"")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let mut it = json!({ "service": "it", "image": "it" });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    let call = |body: &'static str| {
        let request = Request::post("/function/it/slow").body(Full::from(body));
        gateway.call(request.unwrap())
    };
    let replacing = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        it["envVars"] = json!({ "changed": "1" });
        gateway
            .accepted(Method::PUT, "/system/functions", &it)
            .await;
    };
    let (answer, ()) = tokio::join!(call("one"), replacing);
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "one"));
    let changed = || async {
        let about = gateway.about("it").await;
        (about["environment"]["changed"] == "1").then_some(())
    };
    eventually(changed).await;
    let removing = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let name = json!({ "functionName": "it" });
        gateway
            .accepted(Method::DELETE, "/system/functions", &name)
            .await;
    };
    let (answer, ()) = tokio::join!(call("two"), removing);
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "two"));
    gateway.stop().await;
}

#[tokio::test]
async fn change_that_cannot_start_takes_nothing_away() {
    let images = images_of(&[("good", ""), ("bad", "behaviour: crash")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let good = json!({ "service": "it", "image": "good" });
    gateway
        .accepted(Method::POST, "/system/functions", &good)
        .await;
    gateway.available("it", 1).await;
    let pid = gateway.about("it").await["pid"].clone();
    let bad = json!({ "service": "it", "image": "bad" });
    gateway
        .accepted(Method::PUT, "/system/functions", &bad)
        .await;
    let path = "/system/logs?name=it";
    let tried = || async {
        let log = gateway.get(path).await;
        (log.text().matches("no database here").count() >= 2).then_some(())
    };
    eventually(tried).await;
    assert_eq!(gateway.about("it").await["pid"], pid);
    gateway
        .accepted(Method::PUT, "/system/functions", &good)
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_deployed_is_there_again_after_the_gateway() {
    let images = images_of(&[("it", "")]);
    let folder = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        folder: Some(folder.path().to_owned()),
        ..with_images(&images)
    };
    let gateway = TestGateway::with(config.clone()).await;
    let team = json!({ "name": "team", "labels": { "a": "b" } });
    let made = gateway.ask(Method::POST, "/system/namespace/", &team).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let key = json!({ "name": "key", "namespace": "team", "value": "k" });
    gateway
        .accepted(Method::POST, "/system/secrets", &key)
        .await;
    for name in ["kept", "removed"] {
        let it = json!({ "service": name, "image": "it", "namespace": "team", "secrets": ["key"] });
        gateway
            .accepted(Method::POST, "/system/functions", &it)
            .await;
    }
    let removed = json!({ "functionName": "removed", "namespace": "team" });
    gateway
        .accepted(Method::DELETE, "/system/functions", &removed)
        .await;
    gateway.stop().await;
    let gateway = TestGateway::with(config).await;
    let ready = || async {
        let list = gateway.get("/system/functions?namespace=team").await.json();
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), 1, "{list:?}");
        (list[0]["name"] == "kept" && list[0]["availableReplicas"] == 1).then_some(())
    };
    eventually(ready).await;
    let team = gateway.get("/system/namespace/team").await.json();
    assert_eq!(team["labels"]["a"], "b");
    let secrets = gateway.get("/system/secrets?namespace=team").await;
    assert_eq!(
        secrets.json(),
        json!([{ "name": "key", "namespace": "team" }])
    );
    gateway.stop().await;
}

#[tokio::test]
async fn deploying_to_a_gateway_that_has_not_begun_yet_takes_nothing_from_what_was_deployed() {
    let images = images_of(&[("it", "")]);
    let folder = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        folder: Some(folder.path().to_owned()),
        ..with_images(&images)
    };
    let deploy = |name: &str| json!({ "service": name, "image": "it" });
    let gateway = TestGateway::with(config.clone()).await;
    gateway
        .accepted(Method::POST, "/system/functions", &deploy("before"))
        .await;
    gateway.stop().await;
    let bound = Gateway::bind(config.clone()).await.unwrap();
    let body = Full::from(deploy("early").to_string());
    let early = Request::post("/system/functions").body(body).unwrap();
    let answer = send(bound.local_addr(), early).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    // It ends before it has started what was there.
    drop(bound);
    for _ in 0..2 {
        let gateway = TestGateway::with(config.clone()).await;
        gateway.available("before", 1).await;
        gateway.available("early", 1).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_can_no_longer_be_started_can_be_removed() {
    let images = images_of(&[("it", "")]);
    let folder = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        folder: Some(folder.path().to_owned()),
        ..with_images(&images)
    };
    let without_image = GatewayConfig {
        images: None,
        ..config.clone()
    };
    let team = json!({ "name": "team" });
    let gateway = TestGateway::with(config.clone()).await;
    gateway.ask(Method::POST, "/system/namespace/", &team).await;
    for (name, namespace) in [("one", ""), ("two", "team")] {
        let it = json!({ "service": name, "image": "it", "namespace": namespace });
        gateway
            .accepted(Method::POST, "/system/functions", &it)
            .await;
    }
    gateway.stop().await;
    let gateway = TestGateway::with(without_image).await;
    let one = json!({ "functionName": "one" });
    gateway
        .accepted(Method::DELETE, "/system/functions", &one)
        .await;
    let again = gateway.ask(Method::DELETE, "/system/functions", &one).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    gateway
        .accepted(Method::DELETE, "/system/namespace/team", &team)
        .await;
    gateway.ask(Method::POST, "/system/namespace/", &team).await;
    gateway.stop().await;
    let gateway = TestGateway::with(config).await;
    for path in ["/function/one", "/function/two.team"] {
        assert_eq!(gateway.get(path).await.status, StatusCode::NOT_FOUND);
    }
    let record = std::fs::read_to_string(folder.path().join("functions.json")).unwrap();
    assert_eq!(record.trim(), "{}");
    gateway.stop().await;
}

#[tokio::test]
async fn function_is_deployed_as_a_whole_though_its_caller_goes_away() {
    let images = images_of(&[("it", "")]);
    let logs = tempfile::tempdir().unwrap();
    // Opened only once somebody reads it.
    let log = logs.path().join("it.log");
    let made = std::process::Command::new("mkfifo").arg(&log).status();
    assert!(made.unwrap().success());
    let gateway = TestGateway::with(GatewayConfig {
        log_dir: Some(logs.path().to_owned()),
        ..with_images(&images)
    })
    .await;
    let it = json!({ "service": "it", "image": "it" });
    let asked = gateway.ask(Method::POST, "/system/functions", &it);
    let asked = tokio::time::timeout(std::time::Duration::from_secs(1), asked);
    assert!(asked.await.is_err());
    let mut options = std::fs::File::options();
    let _reader = options.read(true).write(true).open(&log).unwrap();
    gateway.available("it", 1).await;
    let name = json!({ "functionName": "it" });
    gateway
        .accepted(Method::DELETE, "/system/functions", &name)
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn change_that_is_itself_changed_before_it_answers_is_given_up() {
    let images = images_of(&[("good", "")]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(GatewayConfig {
        start_timeout: 10 * LONG,
        ..with_images(&images)
    })
    .await;
    let good = json!({ "service": "it", "image": "good" });
    gateway
        .accepted(Method::POST, "/system/functions", &good)
        .await;
    gateway.available("it", 1).await;
    let before = gateway.about("it").await["pid"].clone();
    let mute = |name: &str| {
        let path = folder.path().join(name);
        let command = format!("sh -c 'echo $$ > {}; exec sleep 600'", path.display());
        let annotations = json!({ "turlough.process": command });
        json!({ "service": "it", "annotations": annotations })
    };
    let pid = |name: &'static str| {
        let path = folder.path().join(name);
        let read = move || {
            let text = std::fs::read_to_string(&path).ok();
            async move { text?.trim().parse::<u64>().ok() }
        };
        eventually(read)
    };
    gateway
        .accepted(Method::PUT, "/system/functions", &mute("first"))
        .await;
    let first = pid("first").await;
    gateway
        .accepted(Method::PUT, "/system/functions", &mute("second"))
        .await;
    let second = pid("second").await;
    eventually(|| async { (!runs(first)).then_some(()) }).await;
    assert!(runs(second));
    assert_eq!(gateway.about("it").await["pid"], before);
    gateway.stop().await;
}

#[tokio::test]
async fn stack_comes_before_what_was_deployed_under_its_names() {
    let images = images_of(&[("it", "of: deployment")]);
    let folder = tempfile::tempdir().unwrap();
    let config = GatewayConfig {
        folder: Some(folder.path().to_owned()),
        ..with_images(&images)
    };
    let gateway = TestGateway::with(config.clone()).await;
    for name in ["it", "other"] {
        let function = json!({ "service": name, "image": "it" });
        gateway
            .accepted(Method::POST, "/system/functions", &function)
            .await;
    }
    gateway.stop().await;
    let more = "    environment: {of: stack}\n";
    let stack = stack_of("python3 handler.py", more);
    let gateway = TestGateway::with_stack(config, &stack).await;
    assert_eq!(gateway.about("it").await["environment"]["of"], "stack");
    gateway.available("other", 1).await;
    let other = gateway.about("other").await;
    assert_eq!(other["environment"]["of"], "deployment");
    gateway.stop().await;
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table of what is wrong")]
async fn what_cannot_be_deployed_is_refused_and_nothing_of_it_is_done() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let there = json!({ "service": "there", "image": "it" });
    gateway
        .accepted(Method::POST, "/system/functions", &there)
        .await;
    let label = |name: &str, value: &str| {
        let name = format!("com.openfaas.scale.{name}");
        json!({ "service": "x", "image": "it", "labels": { name: value } })
    };
    let annotation = |name: &str, value: &str| json!({ "service": "x", "image": "it", "annotations": { name: value } });
    for (body, part) in [
        (json!({ "image": "it" }), "`` is not a function"),
        (
            json!({ "service": "X", "image": "it" }),
            "`X` is not a function",
        ),
        (
            json!({ "service": "../x", "image": "it" }),
            "is not a function",
        ),
        (
            json!({ "service": "x", "image": "it", "namespace": "a.b" }),
            "`a.b` is not",
        ),
        (
            json!({ "service": "x", "image": "it", "namespace": "nowhere" }),
            "namespace `nowhere` does not exist",
        ),
        (
            json!({ "service": "x", "image": "else:1" }),
            "image `else:1`",
        ),
        (json!({ "service": "x" }), "image ``"),
        (
            json!({ "service": "x", "image": "it", "secrets": ["none"] }),
            "secret `none` is not in",
        ),
        (
            json!({ "service": "x", "image": "it", "secrets": ["../a"] }),
            "`../a` is not the name",
        ),
        (
            json!({ "service": "x", "image": "it", "envVars": { "a": 1 } }),
            "not a function's deployment",
        ),
        (
            json!({ "service": "x", "image": "it", "limits": { "disk": "1" } }),
            "disk",
        ),
        (json!("x"), "not a function's deployment"),
        (label("min", "0"), "scale.min is `0`"),
        (label("min", "40"), "scale.min is `40`"),
        (label("zero", "perhaps"), "scale.zero is `perhaps`"),
        (
            json!({ "service": "x", "image": "it", "envVars": { "max_inflight": "few" } }),
            "max_inflight is `few`",
        ),
        (
            json!({ "service": "x", "image": "it", "envVars": { "exec_timeout": "soon" } }),
            "exec_timeout is `soon`",
        ),
        (annotation("turlough.process", "cat '"), "not a command"),
        (
            annotation("com.openfaas.health.http.path", "up"),
            "must begin with",
        ),
    ] {
        for method in [Method::POST, Method::PUT] {
            let mut body = body.clone();
            if method == Method::PUT && body["service"] == "x" && body.get("namespace").is_none() {
                body["service"] = json!("there");
            } else if method == Method::PUT {
                continue;
            }
            let answer = gateway
                .ask(method.clone(), "/system/functions", &body)
                .await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{body}: {}",
                answer.text()
            );
            assert!(answer.text().contains(part), "{body}: {}", answer.text());
        }
    }
    let garbage = Request::post("/system/functions")
        .body(Full::from("{"))
        .unwrap();
    assert_eq!(gateway.call(garbage).await.status, StatusCode::BAD_REQUEST);
    let large = Request::post("/system/functions").body(Full::from(vec![b'{'; 3 << 20]));
    let large = gateway.call(large.unwrap()).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let list = gateway.get("/system/functions").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["labels"], json!({}));
    gateway.stop().await;
}

#[tokio::test]
async fn command_of_an_annotation_runs_in_the_folder_that_it_names() {
    let gateway = TestGateway::start().await;
    let mut it = json!({ "service": "it", "image": "any", "annotations": {
        "turlough.process": "python3 handler.py",
        "turlough.directory": "/nowhere/at/all",
    } });
    let refused = gateway.ask(Method::POST, "/system/functions", &it).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        refused.text().contains("/nowhere/at/all"),
        "{}",
        refused.text()
    );
    it["annotations"]["turlough.directory"] = json!(handlers());
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    gateway.available("it", 1).await;
    let cwd = gateway.about("it").await["cwd"].clone();
    assert_eq!(cwd, json!(handlers().canonicalize().unwrap()));
    gateway.stop().await;
}

#[tokio::test]
async fn function_of_a_stack_is_changed_and_removed_like_any_other() {
    let gateway = TestGateway::with_stack(
        config(),
        &stack_of("python3 handler.py", "    image: example.org/it:1\n"),
    )
    .await;
    let it = json!({ "service": "it", "image": "example.org/it:1", "envVars": { "new": "1" } });
    gateway
        .accepted(Method::PUT, "/system/functions", &it)
        .await;
    let changed = || async {
        let about = gateway.about("it").await;
        (about["environment"]["new"] == "1").then_some(())
    };
    eventually(changed).await;
    let name = json!({ "functionName": "it" });
    gateway
        .accepted(Method::DELETE, "/system/functions", &name)
        .await;
    assert_eq!(
        gateway.get("/function/it").await.status,
        StatusCode::NOT_FOUND
    );
    // One that somebody else runs is his to change.
    gateway.function("theirs", "127.0.0.1:9".parse().unwrap());
    let name = json!({ "functionName": "theirs" });
    let refused = gateway
        .ask(Method::DELETE, "/system/functions", &name)
        .await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    gateway.stop().await;
}
