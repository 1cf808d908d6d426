//! TLS over TCP: who trusts the certificate is served, and who speaks none is not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::program::Store;

/// A store that speaks TLS, and who trusts it.
pub(crate) struct Secured {
    pub(crate) store: Store,
    trusting: Arc<ClientConfig>,
}

impl Secured {
    pub(crate) fn with(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let store = Store::with(
            names,
            &[
                ("TURLOUGH_STORE_TLS_CERT", cert.to_str().unwrap()),
                ("TURLOUGH_STORE_TLS_KEY", key.to_str().unwrap()),
            ],
        );
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            store,
            trusting: Arc::new(config),
        }
    }

    pub(crate) fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let secure = ClientConnection::new(Arc::clone(&self.trusting), name).unwrap();
        StreamOwned::new(secure, TcpStream::connect(self.store.address()).unwrap())
    }
}

#[test]
fn whoever_trusts_the_certificate_is_served_and_plain_text_is_not() {
    let secured = Secured::with(&["acme"]);
    let mut wire = secured.connect();
    wire.write_all(b"AUTH acme acme-secret\r\n").unwrap();
    let value = vec![b'v'; 3_000_000];
    wire.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3000000\r\n")
        .unwrap();
    wire.write_all(&value).unwrap();
    wire.write_all(b"\r\nGET a\r\n").unwrap();
    let mut said = vec![0; b"+OK\r\n+OK\r\n$3000000\r\n".len() + value.len() + 2];
    wire.read_exact(&mut said).unwrap();
    assert!(said.starts_with(b"+OK\r\n+OK\r\n$3000000\r\nvvv"));
    assert!(said.ends_with(b"vvv\r\n"));
    // Nothing is said to who speaks without it.
    let mut plain = TcpStream::connect(secured.store.address()).unwrap();
    plain.write_all(b"PING\r\n").unwrap();
    let mut said = Vec::new();
    plain.read_to_end(&mut said).ok();
    assert!(
        !said.starts_with(b"+") && !said.starts_with(b"-"),
        "{}",
        said.escape_ascii()
    );
}
