//! What calls send, and where they go.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};
use turlough_sdk::read_yaml;

use super::platform::endpoint::Endpoint;
use super::platform::{Platform, id_of};
use super::{ECHO, refused, serves_on, serving};

#[tokio::test]
async fn texts_that_are_computed_cannot_add_a_header_or_leave_their_function() {
    let flow = "
flow: texts
nodes: { call: { apply: echo, path: { jq: .path }, headers: { X-Name: { jq: .header } }, query: { q: { jq: .query } } } }
";
    let platform = serving(&[flow]).await;
    let sent = |name: &str, text: &str| {
        let mut input = json!({ "path": "/ok", "header": "h", "query": "q" });
        input[name] = text.into();
        input
    };
    for text in [
        "a\r\nX-Evil: 1",
        "a\nb",
        "a\rb",
        "a\0b",
        "a\u{7f}",
        "a\u{85}b",
    ] {
        for name in ["path", "header", "query"] {
            let detail = refused(&platform, "/texts", &sent(name, text)).await;
            assert!(
                detail.contains("line breaks or control characters"),
                "{name}: {detail}"
            );
        }
    }
    for path in [
        "/../../system/functions",
        "/%2e%2e/flows/requests",
        "..",
        "other",
        "/a\\..\\b",
        "/a#b",
        "//../x",
    ] {
        let detail = refused(&platform, "/texts", &sent("path", path)).await;
        assert!(detail.contains("path of the call"), "{path}: {detail}");
    }
    for name in ["path", "header", "query"] {
        let detail = refused(&platform, "/texts", &sent(name, &"a".repeat(9_000))).await;
        assert!(detail.contains("limit 8192"), "{name}: {detail}");
        let mut input = sent(name, "");
        for no_text in [json!([1]), json!({}), Json::Null] {
            input[name] = no_text;
            let detail = refused(&platform, "/texts", &input).await;
            assert!(detail.contains("it wants a string"), "{detail}");
        }
    }
    assert!(platform.calls.of("echo").is_empty(), "none was called");
    let answer = platform
        .post("/texts", sent("query", "&a=1#?/%0d").to_string())
        .await;
    assert_eq!(answer.status(), 200);
    assert!(!platform.calls.of("echo")[0].contains_key("x-evil"));
    serves_on(&platform).await;
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_called_in_any_spelling() {
    let flow = "flow: ask\nnodes: { call: { http: { jq: .url }, idempotent: true, timeout: 5s } }";
    let platform = serving(&[flow]).await;
    let spy = Endpoint::echo().await;
    let port = spy.url.rsplit(':').next().unwrap().to_owned();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "127.1",
        "0",
        "0.0.0.0",
        "[::]",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "①②⑦.⓪.⓪.①",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ];
    for host in hosts {
        let url = format!("http://{host}:{port}/x");
        let detail = refused(&platform, "/ask", &json!({ "url": url })).await;
        assert!(detail.contains("TURLOUGH_HTTP_ALLOW"), "{url}: {detail}");
    }
    for host in [
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "224.0.0.1",
        "255.255.255.255",
        "2852039166",
        "0xa9fea9fe",
    ] {
        let url = format!("http://{host}/latest/meta-data");
        let detail = refused(&platform, "/ask", &json!({ "url": url })).await;
        assert!(detail.contains("TURLOUGH_HTTP_ALLOW"), "{url}: {detail}");
    }
    for url in [
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://127.0.0.1/",
        "javascript:1",
        "",
        "http://",
        "//x",
        "http://user:pw@127.0.0.1/",
        "http://[::1",
    ] {
        refused(&platform, "/ask", &json!({ "url": url })).await;
    }
    assert!(spy.received().is_empty(), "{:?}", spy.received());
    serves_on(&platform).await;
}

#[tokio::test]
async fn a_redirect_to_an_address_that_is_not_allowed_is_not_followed() {
    let (inner, outer) = (Endpoint::echo().await, "127.0.0.1".parse().unwrap());
    let to = inner.url.replace("127.0.0.1", "127.0.0.2");
    let redirect = Endpoint::start(move |_| {
        let to = to.clone();
        async move { (StatusCode::FOUND, [("location", to)]).into_response() }
    })
    .await;
    let flow = format!(
        "flow: ask\nnodes: {{ call: {{ http: '{}', idempotent: true }} }}",
        redirect.url
    );
    let flows = [ECHO, &flow].map(|text| read_yaml(text).unwrap()).to_vec();
    let platform = Platform::with(flows, |settings| settings.http_allow = outer).await;
    let detail = refused(&platform, "/ask", &json!(1)).await;
    assert!(detail.contains("302"), "{detail}");
    assert!(inner.received().is_empty());
    serves_on(&platform).await;
}

#[tokio::test]
async fn hostile_keys_and_callback_addresses_are_refused_and_start_nothing() {
    let platform = serving(&[]).await;
    let (long, far) = (
        vec![b'k'; 256],
        [b"http://example.org/".to_vec(), vec![b'x'; 2_048]].concat(),
    );
    let keys: Vec<&[u8]> = vec![b"", b"a b", b"\xc3\xa9", b"\xff", b"a\tb", &long];
    let urls: Vec<&[u8]> = vec![
        b"",
        b"/here",
        b"example.org",
        b"ftp://example.org/",
        b"file:///etc/passwd",
        b"javascript:alert(1)",
        b"http://",
        b"http://[::1",
        b"http://127.0.0.1/",
        b"http://169.254.169.254/",
        b"http://[::1]/",
        b"http://0x7f000001/",
        b"http://2130706433/",
        b"http://10.0.0.1:80/",
        b"http://e/\xff",
        &far,
    ];
    let cases = keys.into_iter().map(|key| ("idempotency-key", key, 400));
    let cases = cases.chain(
        urls.iter()
            .map(|url| ("x-turlough-callback-url", *url, 422)),
    );
    let cases = cases.chain(urls.iter().map(|url| ("x-turlough-failure-url", *url, 422)));
    for (name, value, expected) in cases {
        let call = platform
            .http
            .post(format!("{}/echo", platform.direct))
            .body("1");
        let answer = call.header(name, value).send().await.unwrap();
        let (status, problem): (_, Json) = (answer.status(), answer.json().await.unwrap());
        let shown = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
        assert_eq!(status, expected, "{name} {shown:?}: {problem}");
        assert!(problem.to_string().len() < 1_000, "{name} {shown:?}");
    }
    for name in ["idempotency-key", "x-turlough-callback-url"] {
        let call = platform
            .http
            .post(format!("{}/echo", platform.direct))
            .body("1");
        let answer = call
            .header(name, "http://a.example/")
            .header(name, "http://b.example/")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{name} twice");
    }
    serves_on(&platform).await;
}

#[tokio::test]
async fn a_receiver_by_a_name_that_stands_for_this_machine_is_never_reached() {
    let platform = serving(&[]).await;
    let spy = Endpoint::silent().await;
    let url = spy.url.replace("127.0.0.1", "localhost");
    let call = platform
        .http
        .post(format!("{}/echo", platform.url))
        .body("1");
    let answer = call
        .header("x-turlough-callback-url", url)
        .send()
        .await
        .unwrap();
    if answer.status() == 422 {
        return;
    }
    let id = id_of(&answer);
    let path = format!("/requests/{id}");
    let view = platform
        .until(&path, |view| !view["given_up"].is_null())
        .await;
    let error = view["given_up"][0]["error"].as_str().unwrap();
    assert!(error.contains("TURLOUGH_HTTP_ALLOW"), "{error}");
    assert!(spy.received().is_empty());
}
