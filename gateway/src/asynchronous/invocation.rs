//! One call of a function, to the end of its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tracing::warn;

use crate::proxy::{CallBody, GatewayBody, INTERNAL, Peer, Proxy};

#[derive(Debug)]
pub(super) struct Invoker {
    pub(super) proxy: Arc<Proxy>,
    /// A body that is to be called back with.
    pub(super) answer_bytes_max: usize,
    /// From an answer's head to the end of its body.
    pub(super) answer_timeout: Duration,
}

impl Invoker {
    /// Calls the function; what the gateway itself would have answered is an answer too. Its body is read
    /// where somebody is told of it.
    pub(super) async fn invoke(
        &self,
        request: Request<CallBody>,
        peer: &Peer,
        function: &str,
        is_told: bool,
    ) -> (Parts, Bytes) {
        let answer = self.proxy.call(request, peer).await;
        let (head, body) = answer.into_parts();
        if !is_told {
            let read = tokio::time::timeout(self.answer_timeout, discard(body)).await;
            if read.is_err() {
                warn!(%function, limit = ?self.answer_timeout, "answer of an asynchronous call did not end");
            }
            return (head, Bytes::new());
        }
        match self.read(body).await {
            Ok(body) => (head, body),
            Err(cause) => {
                warn!(%function, cause, "cannot read the answer of an asynchronous call");
                (bad_gateway(head), Bytes::new())
            }
        }
    }

    async fn read(&self, body: GatewayBody) -> Result<Bytes, String> {
        let limit = self.answer_bytes_max;
        let read = Limited::new(body, limit).collect();
        match tokio::time::timeout(self.answer_timeout, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(format!("body is over {limit} bytes, the limit"))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("body did not end within {:?}", self.answer_timeout)),
        }
    }
}

/// Reads to the end, so that the function is not cut off, and holds nothing.
async fn discard(mut body: GatewayBody) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The head of an answer whose body could not be had: half an answer is none.
fn bad_gateway(mut head: Parts) -> Parts {
    head.status = StatusCode::BAD_GATEWAY;
    let mut headers = HeaderMap::new();
    for name in ["x-call-id", "x-start-time", "x-duration-seconds"] {
        if let Some(value) = head.headers.remove(name) {
            headers.insert(name, value);
        }
    }
    headers.insert(INTERNAL.clone(), HeaderValue::from_static("gateway"));
    head.headers = headers;
    head
}
