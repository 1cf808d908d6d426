//! `/system/namespaces`, `/system/namespace/NAME`, and who may ask at all.

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use turlough_gateway::{Gateway, GatewayConfig};

use crate::deploying::{images_of, with_images};
use crate::harness::*;

#[tokio::test]
async fn namespace_is_made_changed_and_goes_with_all_that_is_in_it() {
    let images = images_of(&[("it", "")]);
    let gateway = TestGateway::with(with_images(&images)).await;
    let team = json!({ "name": "team", "annotations": { "openfaas": "1" }, "labels": null });
    let status = |method: Method, path: &'static str, body: serde_json::Value| {
        let gateway = &gateway;
        async move { gateway.ask(method, path, &body).await.status }
    };
    let made = status(Method::POST, "/system/namespace/", team.clone()).await;
    assert_eq!(made, StatusCode::CREATED);
    let twice = status(Method::POST, "/system/namespace/team", team.clone()).await;
    assert_eq!(twice, StatusCode::CONFLICT);
    let labels = json!({ "name": "team", "labels": { "a": "c" } });
    let changed = status(Method::PUT, "/system/namespace/team", labels).await;
    assert_eq!(changed, StatusCode::ACCEPTED);
    let team = gateway.get("/system/namespace/team").await.json();
    assert_eq!(
        team,
        json!({ "name": "team", "annotations": {}, "labels": { "a": "c" } })
    );
    let names = gateway.get("/system/namespaces").await.json();
    assert_eq!(names, json!(["openfaas-fn", "team"]));
    let key = json!({ "name": "key", "namespace": "team", "value": "k" });
    gateway
        .accepted(Method::POST, "/system/secrets", &key)
        .await;
    let it = json!({ "service": "it", "image": "it", "namespace": "team" });
    gateway
        .accepted(Method::POST, "/system/functions", &it)
        .await;
    let answers = || async {
        let answer = gateway.get("/function/it.team").await;
        (answer.status == StatusCode::OK).then(|| answer.json())
    };
    let pid = eventually(answers).await["pid"].as_u64().unwrap();
    gateway
        .accepted(
            Method::DELETE,
            "/system/namespace/team",
            &json!({ "name": "team" }),
        )
        .await;
    eventually(|| async { (!runs(pid)).then_some(()) }).await;
    assert_eq!(
        gateway.get("/function/it.team").await.status,
        StatusCode::NOT_FOUND
    );
    let again = json!({ "name": "team" });
    let made = status(Method::POST, "/system/namespace/", again).await;
    assert_eq!(made, StatusCode::CREATED);
    let secrets = gateway.get("/system/secrets?namespace=team").await;
    assert_eq!(secrets.json(), json!([]));
    gateway.stop().await;
}

#[tokio::test]
async fn namespace_stays_until_all_that_is_in_it_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with(GatewayConfig {
        folder: Some(folder.path().to_owned()),
        ..config()
    })
    .await;
    let team = json!({ "name": "team" });
    gateway.ask(Method::POST, "/system/namespace/", &team).await;
    let in_the_way = folder.path().join("secrets/team");
    std::fs::create_dir_all(folder.path().join("secrets")).unwrap();
    std::fs::write(&in_the_way, "").unwrap();
    let path = "/system/namespace/team";
    let failed = gateway.ask(Method::DELETE, path, &team).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(gateway.get(path).await.status, StatusCode::OK);
    std::fs::remove_file(&in_the_way).unwrap();
    gateway.accepted(Method::DELETE, path, &team).await;
    assert_eq!(gateway.get(path).await.status, StatusCode::NOT_FOUND);
    gateway.stop().await;
}

#[tokio::test]
async fn namespaces_that_cannot_be_are_refused() {
    let gateway = TestGateway::start().await;
    for (method, path, body, expected) in [
        (
            Method::POST,
            "/system/namespace/",
            json!({ "name": "a/b" }),
            400,
        ),
        (
            Method::POST,
            "/system/namespace/",
            json!({ "name": "" }),
            400,
        ),
        (Method::POST, "/system/namespace/", json!(3), 400),
        (
            Method::POST,
            "/system/namespace/a",
            json!({ "name": "b" }),
            400,
        ),
        (
            Method::POST,
            "/system/namespace/openfaas-fn",
            json!({}),
            409,
        ),
        (Method::PUT, "/system/namespace/a", json!({}), 404),
        (Method::DELETE, "/system/namespace/a", json!({}), 404),
        (
            Method::DELETE,
            "/system/namespace/openfaas-fn",
            json!({}),
            400,
        ),
        (Method::GET, "/system/namespace/a", json!({}), 404),
        (Method::PATCH, "/system/namespace/a", json!({}), 405),
    ] {
        let answer = gateway.ask(method.clone(), path, &body).await;
        assert_eq!(
            answer.status,
            expected,
            "{method} {path} {body}: {}",
            answer.text()
        );
    }
    assert_eq!(
        gateway.get("/system/namespaces").await.json(),
        json!(["openfaas-fn"])
    );
    gateway.stop().await;
}

#[tokio::test]
async fn gateway_without_a_password_lets_nobody_change_anything() {
    let shut = GatewayConfig {
        anybody_deploys: false,
        ..config()
    };
    let stack = stack_of(
        "python3 handler.py",
        "    environment: {token: not-for-all}\n",
    );
    let gateway = TestGateway::with_stack(shut, &stack).await;
    for (method, path) in [
        (Method::POST, "/system/functions"),
        (Method::PUT, "/system/functions"),
        (Method::DELETE, "/system/functions"),
        (Method::POST, "/system/scale-function/it"),
        (Method::POST, "/system/alert"),
        (Method::POST, "/system/secrets"),
        (Method::PUT, "/system/secrets"),
        (Method::DELETE, "/system/secrets"),
        (Method::POST, "/system/namespace/"),
        (Method::PUT, "/system/namespace/a"),
        (Method::DELETE, "/system/namespace/a"),
    ] {
        let body = json!({
            "service": "x", "functionName": "it", "name": "a", "serviceName": "it", "replicas": 2,
            "annotations": { "turlough.process": "true" }, "alerts": [],
        });
        let answer = gateway.ask(method.clone(), path, &body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        assert!(answer.text().contains("TURLOUGH_BASIC_AUTH"));
    }
    let list = gateway.get("/system/functions").await;
    assert_eq!(list.json()[0]["name"], "it");
    assert!(!list.text().contains("not-for-all"), "{}", list.text());
    gateway.stop().await;
}

#[tokio::test]
async fn page_of_another_site_changes_nothing() {
    let gateway = TestGateway::start().await;
    let here = format!("http://{}", gateway.address);
    let make = |name: &str, header: &str, value: &str| {
        let request = Request::post("/system/namespace/")
            .header("content-type", "text/plain")
            .header(header, value);
        let body = json!({ "name": name }).to_string();
        gateway.call(request.body(Full::from(body)).unwrap())
    };
    for (header, value) in [
        ("origin", "https://example.org"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = make("theirs", header, value).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{header}: {value}");
        assert!(answer.text().contains("another site"), "{}", answer.text());
    }
    let looks = Request::get("/system/namespaces").header("origin", "https://example.org");
    let names = gateway.call(looks.body(Full::default()).unwrap()).await;
    assert_eq!(names.json(), json!(["openfaas-fn"]));
    for (name, header, value) in [
        ("a", "origin", here.as_str()),
        ("b", "sec-fetch-site", "same-origin"),
        ("c", "sec-fetch-site", "none"),
    ] {
        let answer = make(name, header, value).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{header}: {value}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_under_system_is_told_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let secured = || GatewayConfig {
        basic_auth: Some(folder.path().to_owned()),
        ..config()
    };
    let error = Gateway::bind(secured()).await.unwrap_err();
    assert!(error.to_string().contains("basic-auth-user"), "{error}");
    std::fs::write(folder.path().join("basic-auth-user"), "admin").unwrap();
    std::fs::write(folder.path().join("basic-auth-password"), " \n").unwrap();
    let error = Gateway::bind(secured()).await.unwrap_err();
    assert!(
        error.to_string().contains("basic-auth-password` is empty"),
        "{error}"
    );
    std::fs::write(folder.path().join("basic-auth-password"), "pass:word\n").unwrap();
    let gateway = TestGateway::with(secured()).await;
    let ask = |method: Method, path: &str, said: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(said) = said {
            request = request.header("authorization", said);
        }
        gateway.call(request.body(Full::default()).unwrap())
    };
    // admin:pass:word
    let right = "Basic YWRtaW46cGFzczp3b3Jk";
    assert_eq!(
        ask(Method::GET, "/system/functions", Some(right))
            .await
            .status,
        StatusCode::OK
    );
    for said in [
        None,
        Some("Bearer"),
        Some("Basic"),
        Some("Basic !"),
        Some("Basic YWRtaW46"),
    ] {
        for (method, path) in [
            (Method::GET, "/system/info"),
            (Method::GET, "/system/functions"),
            (Method::DELETE, "/system/functions"),
            (Method::POST, "/system/secrets"),
            (Method::GET, "/system/logs?name=it"),
            (Method::POST, "/system/alert"),
            (Method::POST, "/system/namespace/"),
            (Method::POST, "/system/scale-function/it"),
            (Method::GET, "/system/nothing"),
        ] {
            let answer = ask(method.clone(), path, said).await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} {said:?}"
            );
            assert_eq!(
                answer.headers["www-authenticate"],
                "Basic realm=\"Restricted\""
            );
        }
    }
    // Functions are for everybody, and so is whether the gateway is up.
    assert_eq!(
        ask(Method::GET, "/healthz", None).await.status,
        StatusCode::OK
    );
    assert_eq!(
        ask(Method::GET, "/function/it", None).await.status,
        StatusCode::NOT_FOUND
    );
    gateway.stop().await;
}
