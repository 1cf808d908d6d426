//! Why a call was not accepted, and what its caller is told.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::callback::CallbackUrlError;
use super::dispatcher::AcceptError;
use super::room::RoomError;
use crate::proxy::{GatewayBody, INTERNAL};
use crate::timeout::TimeoutError;

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "asynchronous calls are made with POST; GET and DELETE are for /async-function/NAME/CALL-ID"
    )]
    Method,
    #[error("no function is named; call /async-function/NAME")]
    NoFunction,
    #[error(transparent)]
    CallbackUrl(#[from] CallbackUrlError),
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
    #[error("the body broke off")]
    BrokenOff { source: hyper::Error },
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    #[error(
        "body is {bytes} bytes or more, limit {limit} for asynchronous calls; call /function/NAME, which has none"
    )]
    TooLarge { bytes: u64, limit: usize },
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error("no call {call_id} of function `{function}` is known here")]
    Unknown { function: String, call_id: String },
    #[error("call {call_id} of function `{function}` is over; there is nothing to cancel")]
    Over { function: String, call_id: String },
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<GatewayBody> {
        let text = Bytes::from(format!("{self}\n"));
        let mut response = Response::new(GatewayBody::full(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        headers.insert(INTERNAL.clone(), HeaderValue::from_static("gateway"));
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Room(_) | Self::Accept(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoFunction | Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::Over { .. } => StatusCode::CONFLICT,
            Self::CallbackUrl(_) | Self::Timeout(_) | Self::BrokenOff { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            // OpenFaaS's, where its queue is away.
            Self::Accept(AcceptError::State(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Room(_) | Self::Accept(AcceptError::Stopping) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
