//! The one body type that the server writes, and the one that functions are
//! sent, without boxing the common case.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::call::Call;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way to the caller. It holds its call, which is over when the
/// body has been sent or the caller has gone.
#[derive(Debug)]
pub(crate) struct GatewayBody {
    source: Source,
    _call: Option<Call>,
}

#[derive(Debug)]
enum Source {
    Full(Option<Bytes>),
    Function(Incoming),
    Rest(axum::body::Body),
}

/// A body on its way to a function.
#[derive(Debug)]
pub(crate) enum CallBody {
    /// As it comes from the caller.
    Passing(Incoming),
    /// Read before; `None` once it was sent.
    Held(Option<Bytes>),
}

impl GatewayBody {
    pub(crate) fn empty() -> Self {
        Self::from(Source::Full(None))
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::from(Source::Full(Some(bytes)))
    }

    pub(crate) fn rest(body: axum::body::Body) -> Self {
        Self::from(Source::Rest(body))
    }

    pub(super) fn function(body: Incoming) -> Self {
        Self::from(Source::Function(body))
    }

    pub(super) fn ending(mut self, call: Call) -> Self {
        self._call = Some(call);
        self
    }
}

impl From<Source> for GatewayBody {
    fn from(source: Source) -> Self {
        Self {
            source,
            _call: None,
        }
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.source {
            Source::Full(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Source::Function(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(BoxError::from))
            }
            Source::Rest(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(BoxError::from))
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Function(body) => body.is_end_stream(),
            Source::Rest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Source::Function(body) => body.size_hint(),
            Source::Rest(body) => body.size_hint(),
        }
    }
}

impl CallBody {
    pub(crate) fn held(bytes: Bytes) -> Self {
        Self::Held(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Passing(body) => Pin::new(body).poll_frame(cx),
            Self::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passing(body) => body.is_end_stream(),
            Self::Held(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passing(body) => body.size_hint(),
            Self::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
