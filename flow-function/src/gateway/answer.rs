//! An answer of the gateway, while it is read.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Response, StatusCode};

use super::Gateway;
use super::connection::Connection;

/// Chunks that are looked for when nobody wants to read on: a short body is one, and its end.
const DISCARDED_MAX: usize = 2;

/// An answer, whose body is still to be read. Dropped before its end, it takes its connection along.
#[derive(Debug)]
pub(crate) struct Answer {
    head: Parts,
    body: Incoming,
    /// None once the body was read to its end.
    connection: Option<Connection>,
    gateway: Gateway,
}

impl Answer {
    pub(super) fn new(
        gateway: &Gateway,
        connection: Connection,
        answer: Response<Incoming>,
    ) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            head,
            body,
            connection: Some(connection),
            gateway: gateway.clone(),
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Length of the body that is left, where the head said it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next piece of the body; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The body is of no interest. Where it is there already, its connection is used again.
    pub(crate) fn discard(mut self) {
        for _ in 0..DISCARDED_MAX {
            if !matches!(self.chunk().now_or_never(), Some(Ok(Some(_)))) {
                break;
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, hyper::Error>> {
        loop {
            match ready!(self.poll_frame(cx)?) {
                // Anything else is a trailer.
                Some(frame) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Ok(Some(data))),
                    Err(_trailers) => {}
                },
                None => {
                    self.let_go(cx);
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, hyper::Error>> {
        let body = &mut self.body;
        let frame = match &mut self.connection {
            Some(connection) => connection.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx)),
            None => Pin::new(body).poll_frame(cx),
        };
        frame.map(Option::transpose)
    }

    /// The body was read to its end.
    fn let_go(&mut self, cx: &mut Context<'_>) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !connection.is_ready() {
            let _ = connection.poll(cx, |_| Poll::<()>::Pending);
        }
        if connection.is_ready() {
            connection.rest();
            self.gateway.put(connection);
        }
    }
}
