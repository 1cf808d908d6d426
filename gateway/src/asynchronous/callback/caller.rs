//! Sends callbacks, and sends them again. Redirects are not followed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use tracing::{debug, warn};
use uuid::Uuid;

use super::Callback;
use super::resolver::{LinkLocal, Resolver};
use crate::config::AsyncConfig;

/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A receiver that gets callbacks more seldom is better connected to anew.
const POOL_IDLE: Duration = Duration::from_secs(4);

type Plain = Client<HttpConnector<Resolver>, Full<Bytes>>;
type Tls = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

#[derive(Clone, Copy, Debug)]
struct Retry {
    attempts_max: u32,
    /// Before the second attempt; doubled after each.
    wait_min: Duration,
    /// One attempt, to the response's headers.
    timeout: Duration,
    allows_link_local: bool,
}

#[derive(Debug)]
pub(in crate::asynchronous) struct Caller {
    retry: Retry,
    plain: Plain,
    /// Made when first needed: it reads the machine's root certificates.
    tls: OnceCell<Tls>,
}

/// Why an attempt did not end it.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("receiver answered {0}")]
    Status(StatusCode),
    #[error("no answer")]
    Client(#[source] hyper_util::client::legacy::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot read the root certificates of this machine, which https needs")]
    Roots(#[source] io::Error),
}

impl Caller {
    pub(in crate::asynchronous) fn new(config: &AsyncConfig) -> Self {
        let retry = Retry {
            attempts_max: config.callback_attempts_max,
            wait_min: config.callback_wait_min,
            timeout: config.callback_timeout,
            allows_link_local: config.callback_link_local,
        };
        Self {
            retry,
            plain: builder().build(connector(&retry, Resolver::new(retry.allows_link_local))),
            tls: OnceCell::new(),
        }
    }

    pub(in crate::asynchronous) fn allows_link_local(&self) -> bool {
        self.retry.allows_link_local
    }

    /// Sends a callback until the receiver takes it, refuses it, or has had its attempts.
    pub(in crate::asynchronous) async fn deliver(&self, callback: Callback) {
        let (function, receiver) = (&callback.function, callback.url.host());
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&callback).await {
                Ok(status) if status.is_success() => return,
                Ok(status) => {
                    warn!(%function, receiver, %status, "callback refused");
                    return;
                }
                Err(error) => error,
            };
            let cause = cause(&error);
            if LinkLocal::is_cause(&error) {
                warn!(%function, receiver, cause, "callback refused");
                return;
            }
            if attempt >= self.retry.attempts_max {
                warn!(%function, receiver, attempt, %error, cause, "callback given up");
                return;
            }
            let wait = wait_after(attempt, self.retry.wait_min, jitter());
            debug!(%function, receiver, attempt, %error, cause, ?wait, "callback failed, and will be sent again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// The answer that ends it, or why there has to be another attempt. An attempt
    /// of which nothing is known may have been taken, and is made again.
    async fn attempt(&self, callback: &Callback) -> Result<StatusCode, AttemptError> {
        let request = callback.request();
        let answer = if callback.url.is_https() {
            self.tls().await?.request(request)
        } else {
            self.plain.request(request)
        };
        let answer = tokio::time::timeout(self.retry.timeout, answer).await;
        let answer = answer.map_err(|_| AttemptError::Timeout(self.retry.timeout))?;
        let status = answer.map_err(AttemptError::Client)?.status();
        let again = status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS;
        if again {
            return Err(AttemptError::Status(status));
        }
        Ok(status)
    }

    async fn tls(&self) -> Result<&Tls, AttemptError> {
        let retry = self.retry;
        let made = self.tls.get_or_try_init(|| async move {
            let made = tokio::task::spawn_blocking(move || tls(&retry)).await;
            made.unwrap_or_else(|error| Err(io::Error::other(error)))
        });
        made.await.map_err(AttemptError::Roots)
    }
}

/// Half of the step to all of it, so that callbacks that failed together do not
/// come back together; `jitter` is 0 to 1.
fn wait_after(attempt: u32, wait_min: Duration, jitter: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
    let step = wait_min.saturating_mul(doubled).min(WAIT_MAX);
    step.mul_f64(0.5 + 0.5 * jitter)
}

fn jitter() -> f64 {
    let (random, ..) = Uuid::new_v4().to_fields_le();
    f64::from(random) / f64::from(u32::MAX)
}

/// The error below, which says why; the client's own says only that it failed.
fn cause(error: &AttemptError) -> Option<String> {
    let mut cause = std::error::Error::source(error)?;
    while let Some(below) = cause.source() {
        cause = below;
    }
    Some(cause.to_string())
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    builder.pool_idle_timeout(POOL_IDLE);
    builder
}

fn connector<R>(retry: &Retry, resolver: Resolver<R>) -> HttpConnector<Resolver<R>> {
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(retry.timeout));
    connector
}

fn tls(retry: &Retry) -> io::Result<Tls> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut http = connector(retry, Resolver::new(retry.allows_link_local));
    http.enforce_http(false);
    let https = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)?
        .https_only()
        .enable_http1()
        .wrap_connector(http);
    Ok(builder().build(https))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::vec;

    use hyper_util::client::legacy::connect::dns::Name;

    use super::*;

    /// Gives a good address at first, and then a bad one, as who wants to get past a check does.
    #[derive(Clone)]
    struct Turncoat {
        asked: Arc<AtomicUsize>,
        good: SocketAddr,
    }

    impl tower_service::Service<Name> for Turncoat {
        type Response = vec::IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = std::future::Ready<io::Result<Self::Response>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, name: Name) -> Self::Future {
            assert_eq!(name.as_str(), "receiver.example");
            let bad = SocketAddr::from(([169, 254, 169, 254], 80));
            let addresses = match self.asked.fetch_add(1, Ordering::Relaxed) {
                0 => vec![self.good],
                _ => vec![self.good, bad],
            };
            std::future::ready(Ok(addresses.into_iter()))
        }
    }

    #[tokio::test]
    async fn name_that_stands_for_a_link_local_address_is_not_called_whatever_it_stood_for_before()
    {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let good = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                let mut head = [0; 4096];
                drop(stream.read(&mut head).await);
                stream.write_all(answer).await.unwrap();
            }
        });
        let retry = Retry {
            attempts_max: 1,
            wait_min: Duration::from_millis(1),
            timeout: Duration::from_secs(60),
            allows_link_local: false,
        };
        let resolver = Resolver::of(
            Turncoat {
                asked: Arc::default(),
                good,
            },
            retry.allows_link_local,
        );
        let client: Client<_, Full<Bytes>> = builder().build(connector(&retry, resolver));
        let url = format!("http://receiver.example:{}/", good.port());
        let ask = || async {
            let answer = client.get(url.parse().unwrap()).await;
            answer.map_err(AttemptError::Client)
        };
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
        let error = ask().await.unwrap_err();
        assert!(LinkLocal::is_cause(&error), "{error:?}");
        let cause = cause(&error).unwrap();
        assert!(cause.contains("169.254.169.254, a link-local"), "{cause}");
    }

    #[test]
    fn wait_is_half_to_all_of_a_step_that_doubles_to_its_bound() {
        let wait_ms = |attempt, jitter| {
            let wait = wait_after(attempt, Duration::from_millis(100), jitter);
            wait.as_millis()
        };
        let all: Vec<_> = (1..=12).map(|attempt| wait_ms(attempt, 1.0)).collect();
        let expected = [
            100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000,
        ];
        assert_eq!(all, expected);
        assert_eq!(wait_ms(1, 0.0), 50);
        assert_eq!(wait_ms(u32::MAX, 0.0), 30_000);
        assert!(
            (0..100)
                .map(|_| jitter())
                .all(|jitter| (0.0..=1.0).contains(&jitter))
        );
    }
}
