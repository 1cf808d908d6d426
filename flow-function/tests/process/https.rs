//! Steps and callbacks over https. Which certificates a machine trusts is a matter of its environment,
//! so each flow-function here is a process of its own.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{Running, start};

const FLOW: &str = "
flow: secure
nodes: { call: { http: 'URL/work?n=1', method: POST, idempotent: true } }
";

/// Serves https on this machine with a certificate that it signed itself, and answers with what it is
/// sent.
struct Secure {
    url: String,
    received: mpsc::Receiver<String>,
    folder: TempDir,
}

impl Secure {
    async fn start() -> Self {
        let (own, acceptor) = certified();
        let (other, _) = certified();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let folder = tempfile::tempdir().unwrap();
        let flows = folder.path().join("flows");
        std::fs::create_dir(&flows).unwrap();
        std::fs::write(flows.join("secure.yaml"), FLOW.replace("URL", &url)).unwrap();
        std::fs::write(folder.path().join("own"), own).unwrap();
        std::fs::write(folder.path().join("other"), other).unwrap();
        let (sender, received) = mpsc::channel(10);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    // Who does not trust it hangs up.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let echo = service_fn(move |call| echo(call, sender.clone()));
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), echo).await);
                });
            }
        });
        Self {
            url,
            received,
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A flow-function that calls it, and trusts what is in this file.
    fn flow_function(&self, trusted: &Path, allow: &str) -> (Running, String) {
        start(&self.file("flows"), |command| {
            command
                .env("SSL_CERT_FILE", trusted)
                .env("TURLOUGH_HTTP_ALLOW", allow);
        })
    }

    /// What its flow comes to in such a flow-function.
    async fn error(&self, trusted: &str, allow: &str) -> String {
        let (_child, url) = self.flow_function(&self.file(trusted), allow);
        let answer = client().post(format!("{url}/secure")).body("1").send();
        let answer = answer.await.unwrap();
        assert!(answer.status().is_server_error(), "{answer:?}");
        answer.text().await.unwrap()
    }

    async fn next(&mut self) -> String {
        let came = tokio::time::timeout(Duration::from_secs(60), self.received.recv()).await;
        came.expect("no call came").unwrap()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn certified() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = made;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn echo(
    call: Request<Incoming>,
    sender: mpsc::Sender<String>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = call.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    let status = head.headers.get("x-turlough-status");
    let status = status.map_or("", |value| value.to_str().unwrap());
    let host = head.headers["host"].to_str().unwrap();
    let line = format!("{} https://{host}{} {status} {text}", head.method, head.uri);
    sender.send(line).await.unwrap();
    let answer = Response::builder().header("content-type", "application/json");
    Ok(answer.body(Full::new(body)).unwrap())
}

#[tokio::test]
async fn a_step_and_word_of_the_end_go_to_https_addresses_whose_certificate_is_trusted() {
    let mut secure = Secure::start().await;
    let (_child, url) = secure.flow_function(&secure.file("own"), "localhost");
    let body = format!("\"{}\"", "x".repeat(300_000));
    let call = client()
        .post(format!("{url}/secure"))
        .header("content-type", "application/json")
        .header("x-turlough-callback-url", format!("{}/told", secure.url))
        .body(body.clone());
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap() == body);
    let work = format!("POST {}/work?n=1  {body}", secure.url);
    assert!(secure.next().await == work);
    let told = format!("POST {}/told succeeded {body}", secure.url);
    assert!(secure.next().await == told);
}

#[tokio::test]
async fn an_https_address_is_not_called_that_is_not_trusted_or_not_allowed() {
    let mut secure = Secure::start().await;
    let error = secure.error("other", "localhost").await;
    assert!(error.contains("invalid peer certificate"), "{error}");
    // Without any certificate it starts, and says what is missing where it is needed.
    let error = secure.error("none", "localhost").await;
    assert!(error.contains("SSL_CERT_FILE"), "{error}");
    let error = secure.error("own", "").await;
    assert!(error.contains("allow it by TURLOUGH_HTTP_ALLOW"), "{error}");
    assert!(secure.received.try_recv().is_err());
}
