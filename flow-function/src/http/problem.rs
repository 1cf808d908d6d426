//! Problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use tracing::error;

use crate::engine::{ControlError, StartError};

/// An error as the caller sees it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    body: Json,
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
        Self {
            status,
            body,
            retry_after_s: None,
        }
    }

    /// Adds a member, such as the request's id.
    pub(super) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.body[name] = value.into();
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body.to_string()).into_response();
        let headers = response.headers_mut();
        let media = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::UnknownFlow { flow, .. } => {
                Self::new(StatusCode::NOT_FOUND, &text).with("flow", flow)
            }
            StartError::InputTooLarge { size, limit } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, &text)
                    .with("size", size)
                    .with("limit", limit)
            }
            StartError::Full { .. }
            | StartError::LogFull { .. }
            | StartError::Abandoned { .. }
            | StartError::Draining => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
            }
            StartError::Lost => {
                error!("a request's task was lost while it was recorded");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, &text)
            }
            StartError::Log(cause) => {
                error!(%cause, "request could not be recorded");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
            }
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        match error {
            ControlError::Unknown(request) => {
                Self::new(StatusCode::NOT_FOUND, &text).with("request_id", request.to_string())
            }
            ControlError::Ended { request, .. } => {
                Self::new(StatusCode::CONFLICT, &text).with("request_id", request.to_string())
            }
            ControlError::Log(request, cause) => {
                error!(%request, %cause, "control could not be recorded");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
            }
        }
    }
}
