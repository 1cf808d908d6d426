//! Problem documents (RFC 9457).

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use tracing::error;

use crate::follower::chain;
use crate::keeper::{DeleteError, KeeperError};

/// An error as the caller sees it.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    body: Json,
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            status,
            body: json!({ "title": title, "status": status.as_u16(), "detail": detail }),
            retry_after_s: None,
        }
    }

    /// Adds a member, such as the request's id.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.body[name] = value.into();
        self
    }

    pub(crate) const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        error!(error = %chain(error), "index of requests does not answer");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the index of requests does not answer",
        )
        .retry_after(1)
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
        response
    }
}

impl From<KeeperError> for Problem {
    fn from(error: KeeperError) -> Self {
        match error {
            KeeperError::NoPlace(_) => Self::new(StatusCode::BAD_REQUEST, &error.to_string()),
            KeeperError::Index(_) | KeeperError::Client(_) => Self::internal(&error),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        let text = error.to_string();
        let (status, request) = match error {
            DeleteError::Unknown(request) => (StatusCode::NOT_FOUND, request),
            DeleteError::Open(request) => (StatusCode::CONFLICT, request),
            DeleteError::Index(error) => return Self::internal(&error),
        };
        Self::new(status, &text).with("request_id", request.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::new(error.status(), &error.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(error: PathRejection) -> Self {
        Self::new(error.status(), &error.body_text())
    }
}
