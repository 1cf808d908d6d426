//! Flows that take signed calls alone.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use turlough_sdk::read_yaml;
use turlough_sdk::signature::{SigningKey, content_digest};

use super::platform::endpoint::Endpoint;
use super::platform::{Platform, id_of};

const SECRET: &str = "a secret of the two of us, of 40 bytes..";
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";

const FLOWS: [&str; 2] = [
    "flow: open\nnodes: { a: { pass: . } }",
    "flow: pay\nsigned: true\nheaders: [x-account]\nnodes: { a: { pass: '{sum: .sum, account: $headers[\"x-account\"]}' } }",
];

/// A platform with the keys `shared`, `pair` and, of 5 bytes, `short`.
async fn platform() -> (Platform, tempfile::TempDir) {
    let secrets = tempfile::tempdir().unwrap();
    for (name, text) in [("shared", SECRET), ("pair", PUBLIC), ("short", "12345")] {
        let path = secrets.path().join(format!("turlough-signing-key-{name}"));
        std::fs::write(path, text).unwrap();
    }
    let folder = secrets.path().to_owned();
    let flows = FLOWS.map(|text| read_yaml(text).unwrap()).into();
    let platform = Platform::with(flows, |settings| {
        settings.secrets = folder;
        settings.http_allow = "127.0.0.1".parse().unwrap();
    });
    (platform.await, secrets)
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A call, and how it is signed.
#[derive(Debug, Clone)]
struct Call {
    key: (&'static str, &'static str),
    path: &'static str,
    query: &'static str,
    body: &'static str,
    headers: Vec<(&'static str, String)>,
    times: (u64, Option<u64>),
    nonce: String,
}

impl Call {
    fn new(nonce: &str) -> Self {
        Self {
            key: ("shared", SECRET),
            path: "/function/flows/pay",
            query: "?day=1",
            body: "{\"sum\": 3}",
            headers: vec![("content-type", "application/json".to_owned())],
            times: (now_s(), None),
            nonce: nonce.to_owned(),
        }
    }

    /// Signs it, and gives what is sent, with the path and the query.
    fn signed(&self) -> Sent {
        let digest = content_digest(self.body.as_bytes());
        let mut components = vec![
            ("@method", "POST"),
            ("@path", self.path),
            ("@query", self.query),
            ("content-digest", &*digest),
        ];
        components.extend(
            self.headers
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let key = SigningKey::read(self.key.0, self.key.1.as_bytes()).unwrap();
        let headers = key.sign(&components, self.times, &self.nonce).unwrap();
        let mut sent = self.headers.clone();
        sent.push(("content-digest", digest));
        sent.push(("signature-input", headers.input));
        sent.push(("signature", headers.signature));
        Sent {
            path: self.path.to_owned(),
            query: self.query.to_owned(),
            body: self.body.to_owned(),
            headers: sent,
        }
    }
}

#[derive(Debug, Clone)]
struct Sent {
    path: String,
    query: String,
    body: String,
    headers: Vec<(&'static str, String)>,
}

impl Sent {
    async fn to(&self, platform: &Platform) -> (u16, serde_json::Value) {
        let answer = self.send(platform).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn send(&self, platform: &Platform) -> reqwest::Response {
        let gateway = platform.url.strip_suffix("/function/flows").unwrap();
        let url = format!("{gateway}{}{}", self.path, self.query);
        let mut call = platform.http.post(url).body(self.body.clone());
        for (name, value) in &self.headers {
            call = call.header(*name, value);
        }
        call.send().await.unwrap()
    }

    fn set(&mut self, name: &str, value: &str) {
        let header = self.headers.iter_mut().find(|(known, _)| *known == name);
        header.unwrap().1 = value.to_owned();
    }
}

#[tokio::test]
async fn a_signed_call_is_taken_and_its_flow_goes_on_as_any() {
    let (platform, _secrets) = platform().await;
    let mut call = Call::new("n-1");
    call.headers.push(("x-account", "7".to_owned()));
    let expected = json!({ "sum": 3, "account": "7" });
    assert_eq!(call.signed().to(&platform).await, (200, expected.clone()));
    // With the other kind of key, the path as the function sees it, and a time of its own.
    call.key = ("pair", PRIVATE);
    call.nonce = "n-2".to_owned();
    call.times = (now_s() - 3_000, Some(now_s() + 100));
    assert_eq!(call.signed().to(&platform).await, (200, expected.clone()));
    call.nonce = "n-3".to_owned();
    let mut sent = Call {
        path: "/pay",
        ..call.clone()
    }
    .signed();
    sent.path = "/function/flows/pay".to_owned();
    assert_eq!(sent.to(&platform).await, (200, expected));
    // A flow that is not signed takes what is and what is not.
    let open = Call {
        path: "/function/flows/open",
        ..Call::new("n-4")
    };
    assert_eq!(
        open.signed().to(&platform).await,
        (200, json!({ "sum": 3 }))
    );
}

#[tokio::test]
async fn what_is_not_signed_or_altered_begins_nothing() {
    let (platform, _secrets) = platform().await;
    let refused = async |sent: &Sent, reason: &str| {
        let (status, problem) = sent.to(&platform).await;
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        assert!(
            status == 401 && detail.contains(reason),
            "{reason}: {status} {detail}"
        );
    };
    let mut call = Call::new("n-1");
    call.headers.push(("x-account", "7".to_owned()));
    let good = call.signed();

    let mut unsigned = good.clone();
    unsigned.headers.retain(|(name, _)| *name != "signature");
    refused(&unsigned, "no Signature and Signature-Input").await;
    let mut altered = good.clone();
    altered.body = "{\"sum\": 9}".to_owned();
    refused(&altered, "not the one that Content-Digest names").await;
    altered.set("content-digest", &content_digest(b"{\"sum\": 9}"));
    refused(&altered, "does not fit").await;
    let mut altered = good.clone();
    altered.query = "?day=2".to_owned();
    refused(&altered, "does not fit").await;
    for header in ["x-account", "content-type"] {
        let mut altered = good.clone();
        altered.set(header, "application/other");
        refused(&altered, "does not fit").await;
    }
    let mut more = good.clone();
    more.headers
        .push(("x-turlough-callback-url", "http://127.0.0.1/".to_owned()));
    refused(&more, "does not cover x-turlough-callback-url").await;
    let mut other_key = call.clone();
    other_key.key = ("pair", SECRET);
    refused(&other_key.signed(), "does not fit").await;
    for (name, reason) in [
        ("nobody", "key \"nobody\" is unknown"),
        ("../pair", "lower-case letters"),
    ] {
        other_key.key = (name, SECRET);
        refused(&other_key.signed(), reason).await;
    }
    // One flow's signature is none of another's.
    let mut elsewhere = Call {
        path: "/function/flows/open",
        ..call.clone()
    }
    .signed();
    elsewhere.path = "/function/flows/pay".to_owned();
    refused(&elsewhere, "does not fit").await;

    other_key.key = ("short", SECRET);
    assert_eq!(other_key.signed().to(&platform).await.0, 503);
    let mut keyed = good.clone();
    keyed.headers.push(("idempotency-key", "k".to_owned()));
    assert_eq!(keyed.to(&platform).await.0, 422);

    assert_eq!(platform.json("/requests").await["requests"], json!([]));
    assert_eq!(good.to(&platform).await.0, 200);
}

#[tokio::test]
async fn what_is_too_old_too_new_or_lasts_too_long_is_refused() {
    let (platform, _secrets) = platform().await;
    let now_s = now_s();
    for (times, reason) in [
        ((now_s - 400, None), "s old and ended"),
        ((now_s - 400, Some(now_s - 10)), "s old and ended"),
        ((now_s + 100, None), "s from now"),
        ((now_s, Some(now_s + 90_000)), "more than 86400 s"),
    ] {
        let mut call = Call::new("n");
        call.times = times;
        let (status, problem) = call.signed().to(&platform).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            status == 401 && detail.contains(reason),
            "{reason}: {detail}"
        );
    }
}

#[tokio::test]
async fn a_signature_begins_one_request() {
    let (platform, _secrets) = platform().await;
    let sent = Call::new("once").signed();
    let first = sent.send(&platform).await;
    assert_eq!(first.status(), 200);
    let (status, problem) = sent.to(&platform).await;
    assert_eq!(
        (status, problem["request_id"].as_str()),
        (409, Some(&*id_of(&first)))
    );
    // The same nonce says nothing of another key's, and with the same key whatever it signs is refused.
    let mut call = Call::new("once");
    call.body = "{\"sum\": 4}";
    assert_eq!(call.signed().to(&platform).await.0, 409);
    call.key = ("pair", PRIVATE);
    assert_eq!(call.signed().to(&platform).await.0, 200);
    // Of many at once one begins.
    let sent = Call::new("race").signed();
    let all = futures_util::future::join_all((0..20).map(|_| sent.to(&platform))).await;
    let of = |wanted: u16| all.iter().filter(|(status, _)| *status == wanted).count();
    assert_eq!((of(200), of(409)), (1, 19));
}

#[tokio::test]
async fn a_signed_call_comes_through_the_queue_with_its_callback() {
    let (platform, _secrets) = platform().await;
    let to = Endpoint::silent().await;
    let mut call = Call::new("queued");
    call.path = "/async-function/flows/pay";
    call.headers.push(("x-callback-url", to.url.clone()));
    assert_eq!(call.signed().send(&platform).await.status(), 202);
    let word = to.after(1).await.remove(0);
    assert_eq!(word.header("x-function-status"), "200");
    // Replayed, it is refused, and whoever replays it hears so by the callback.
    assert_eq!(call.signed().send(&platform).await.status(), 202);
    let word = to.after(2).await.remove(1);
    assert_eq!(word.header("x-function-status"), "409");
}
