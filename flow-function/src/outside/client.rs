//! The client for addresses outside the platform, over http and https.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, RequestBuilder, Response};
use tokio::sync::OnceCell;

use super::https::Https;
use super::{HttpAllow, judged};

/// How long a connection may take to be there.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Calls public addresses, and those that are allowed. It does not see addresses that stand in a URL
/// as such: [`super::check_url`] does. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    http: reqwest::Client,
    /// Made when first needed.
    https: Arc<OnceCell<Https>>,
    allow: HttpAllow,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Https(hyper_util::client::legacy::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(
        "the root certificates of this machine, which https needs, cannot be read; install them, or name a file of them in SSL_CERT_FILE"
    )]
    Roots(#[source] io::Error),
}

impl CallError {
    /// Whether the call was not made, since no connection came to be.
    pub(crate) fn is_unmade(&self) -> bool {
        match self {
            Self::Http(error) => error.is_connect(),
            Self::Https(error) => error.is_connect(),
            Self::Timeout(_) => false,
            Self::Roots(_) => true,
        }
    }

    /// Whether there is nothing that could be called.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_builder())
    }
}

impl Outside {
    /// # Errors
    /// An HTTP client that cannot be made.
    pub(crate) fn new(allow: &HttpAllow) -> Result<Self, reqwest::Error> {
        let resolver = Resolver {
            allow: allow.clone(),
        };
        let http = reqwest::Client::builder()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .dns_resolver(resolver)
            .build()?;
        Ok(Self {
            http,
            https: Arc::default(),
            allow: allow.clone(),
        })
    }

    /// A call that is to be made, for [`Self::send`].
    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Makes a call. It ends with the head of the answer; over https its timeout does, too.
    pub(crate) async fn send(&self, call: RequestBuilder) -> Result<Response, CallError> {
        let call = call.build()?;
        if call.url().scheme() != "https" {
            return Ok(self.http.execute(call).await?);
        }
        let timeout = call.timeout().copied();
        let https = self.https().await?;
        let call = https.call(call.try_into()?);
        let answer = match timeout {
            None => call.await,
            Some(timeout) => tokio::time::timeout(timeout, call)
                .await
                .map_err(|_| CallError::Timeout(timeout))?,
        };
        let answer = answer.map_err(CallError::Https)?;
        Ok(answer.map(reqwest::Body::wrap).into())
    }

    async fn https(&self) -> Result<Https, CallError> {
        let made = self.https.get_or_try_init(|| async {
            let allow = self.allow.clone();
            let made = tokio::task::spawn_blocking(move || Https::new(&allow)).await;
            made.unwrap_or_else(|error| Err(io::Error::other(error)))
        });
        Ok(made.await.map_err(CallError::Roots)?.clone())
    }
}

/// An error with what it came from, without the address, which may hold a secret.
pub(crate) fn chain(error: &CallError) -> String {
    let text = match error {
        CallError::Http(error) => return without_url(error),
        error => error.to_string(),
    };
    with_sources(text, error)
}

/// The same of an error of reading an answer.
pub(crate) fn without_url(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    if let Some(url) = error.url() {
        text = text.replace(&format!(" for url ({url})"), "");
    }
    with_sources(text, error)
}

/// A text about an error, and what that came from.
pub(crate) fn with_sources(mut text: String, error: &dyn Error) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Resolves names to addresses that may be called.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    pub(super) allow: HttpAllow,
}

impl Resolver {
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, BoxError> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
        Ok(judged(&self.allow, host, found)?)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
