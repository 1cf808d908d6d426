//! Asks a starting function whether it is healthy.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A function that takes longer for one health answer is not ready to serve.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two probes; a tenth of what the fastest interpreters take to start.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Prober {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Prober {
    pub(super) fn new() -> Self {
        let client = Client::builder(TokioExecutor::new())
            // A probe's connection would only be in a single-threaded function's way.
            .pool_max_idle_per_host(0)
            .build_http();
        Self { client }
    }

    /// Returns once `path` answers 200; `found` keeps what it gave until then.
    pub(super) async fn healthy(&self, address: SocketAddr, path: &str, found: &mut String) {
        loop {
            match self.probe(address, path).await {
                Ok(StatusCode::OK) => return,
                Ok(status) => *found = format!("status {}", status.as_u16()),
                Err(cause) => *found = cause,
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    async fn probe(&self, address: SocketAddr, path: &str) -> Result<StatusCode, String> {
        let uri: Uri = format!("http://{address}{path}")
            .parse()
            .map_err(|_| "an address that is no URI".to_owned())?;
        match tokio::time::timeout(PROBE_TIMEOUT, self.client.get(uri)).await {
            Ok(Ok(response)) => Ok(response.status()),
            Ok(Err(error)) if error.is_connect() => Err("no connection".into()),
            Ok(Err(_)) => Err("no HTTP answer".into()),
            Err(_) => Err(format!("no answer in {PROBE_TIMEOUT:?}")),
        }
    }
}
