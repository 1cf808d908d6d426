//! The HTTP client for S3: hyper, with rustls and ring as everywhere else here.
//!
//! It trusts what the machine trusts: its root certificates, or what `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! name in their place. Plain http is for `AWS_ALLOW_HTTP=true` alone.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::client::legacy::{Client, Error as CallError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, Error};
use tower_service::Service;

/// How long a connection may take to be there, its handshake too.
const CONNECT: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Tls = HttpsConnector<Tcp>;

#[derive(Debug)]
pub(super) struct Connector;

#[derive(Debug)]
struct Calls(Client<Bounded, HttpRequestBody>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient, Error> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
        let builder = builder.map_err(|error| Error::Generic {
            store: "S3",
            source: format!(
                "the root certificates of this machine cannot be read: {error}; install them, or name a file of them in SSL_CERT_FILE"
            )
            .into(),
        })?;
        let builder = match allowed.as_deref() {
            Some("true") => builder.https_or_http(),
            _ => builder.https_only(),
        };
        let mut tcp = Tcp::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new());
        let connector = Bounded(builder.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Calls(client.build(connector))))
    }
}

#[async_trait]
impl HttpService for Calls {
    async fn call(&self, call: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = self.0.request(call).await;
        let (head, body) = answered
            .map_err(|error| HttpError::new(kind(&error), error))?
            .into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// What is called may be called again: puts are conditional, the rest is idempotent.
fn kind(error: &CallError) -> HttpErrorKind {
    if error.is_connect() {
        HttpErrorKind::Connect
    } else {
        HttpErrorKind::Request
    }
}

/// A connection that is there in time, or not at all.
#[derive(Debug, Clone)]
struct Bounded(Tls);

impl Service<Uri> for Bounded {
    type Response = <Tls as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT, connecting).await;
            connected.unwrap_or_else(|_| {
                let text = format!("no connection within {CONNECT:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
            })
        })
    }
}
