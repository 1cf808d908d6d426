//! Calls over https.
//!
//! The client for http is built without TLS, so that a process which calls no https address reads no
//! certificates, and starts where there are none. This one is made at the first call that needs it. It
//! trusts what the machine trusts: its root certificates, or what `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! name in their place.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::body::Incoming;
use hyper::http::{HeaderValue, Request, Response, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

use super::HttpAllow;
use super::client::{BoxError, CONNECT_TIMEOUT, Resolver};

type Tls = HttpsConnector<HttpConnector<Resolver>>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

#[derive(Debug, Clone)]
pub(super) struct Https(Client<Bounded, reqwest::Body>);

impl Https {
    /// Reads the root certificates, which takes some milliseconds.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn new(allow: &HttpAllow) -> io::Result<Self> {
        let mut http = HttpConnector::new_with_resolver(Resolver {
            allow: allow.clone(),
        });
        http.set_nodelay(true);
        http.enforce_http(false);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new());
        Ok(Self(client.build(Bounded(https))))
    }

    /// Makes a call. It ends with the head of the answer.
    pub(super) async fn call(
        &self,
        mut call: Request<reqwest::Body>,
    ) -> Result<Response<Incoming>, Error> {
        // As over http.
        let any = HeaderValue::from_static("*/*");
        call.headers_mut().entry(header::ACCEPT).or_insert(any);
        self.0.request(call).await
    }
}

/// A connection that is there in time, its handshake too, or not at all.
#[derive(Debug, Clone)]
struct Bounded(Tls);

impl Service<Uri> for Bounded {
    type Response = <Tls as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            connected.unwrap_or_else(|_| {
                let text = format!("no connection within {CONNECT_TIMEOUT:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
            })
        })
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.addresses(name.as_str()).await?.into_iter()) })
    }
}
