//! Callbacks over https. Which certificates a machine trusts is a matter of its
//! environment, so each gateway here is a process of its own.

use std::path::Path;
use std::sync::Arc;

use rcgen::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::harness::*;
use crate::scripted::*;

/// A certificate of this machine, signed by itself, and what serves with it.
fn certified() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
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

/// What a receiver gets from a gateway that trusts only what is in `trusted`; no
/// head where the gateway does not go on with the handshake.
async fn received(acceptor: &TlsAcceptor, trusted: &Path) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "callback_tls::gateway_that_calls_back",
        ])
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .env("CALLBACK_URL", url)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (stream, _) = within(listener.accept()).await.unwrap();
    let mut head = None;
    if let Ok(mut stream) = within(acceptor.accept(stream)).await {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(within(stream.read_u8()).await.unwrap());
        }
        head = Some(String::from_utf8(text).unwrap());
        let taken = b"HTTP/1.1 204 x\r\n\r\n";
        stream.write_all(taken).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert!(within(gateway.wait()).await.unwrap().success());
    head
}

#[tokio::test]
async fn https_receiver_gets_its_callback_only_if_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (own, acceptor) = certified();
    let (other, _) = certified();
    for (name, certificate) in [("own", own), ("other", other)] {
        std::fs::write(folder.path().join(name), certificate).unwrap();
    }
    let head = received(&acceptor, &folder.path().join("own"))
        .await
        .unwrap();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-function-status: 200\r\n"), "{head}");
    let head = received(&acceptor, &folder.path().join("other")).await;
    assert_eq!(head, None);
}

#[tokio::test]
#[ignore = "started as a process of its own by the test above"]
async fn gateway_that_calls_back() {
    let gateway = TestGateway::with(config_with(|bounds| bounds.callback_attempts_max = 1)).await;
    let it = Scripted::answering(&[OK]).await;
    gateway.function("it", it.address);
    let url = std::env::var("CALLBACK_URL").unwrap();
    call_async(&gateway, "it", &[("X-Callback-Url", &url)], "").await;
    gateway.stop().await;
}
