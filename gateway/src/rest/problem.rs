//! What a client is told that asked for something that is not done: a status, and a line that says why.

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::deployments::DeployError;
use crate::functions::NameError;
use crate::namespaces::NamespaceError;
use crate::secrets::SecretError;

#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// Reads a body as what it should be.
    pub(super) fn read<'a, T: serde::Deserialize<'a>>(
        body: &'a [u8],
        what: &str,
    ) -> Result<T, Self> {
        serde_json::from_slice(body).map_err(|error| {
            Self::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not {what}: {error}"),
            )
        })
    }

    /// A failure of this machine, with its cause.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}"));
        let text = format!("{error}{}", cause.unwrap_or_default());
        tracing::error!(error = %text, "request of the API failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, format!("{}\n", self.text)).into_response()
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<NamespaceError> for Problem {
    fn from(error: NamespaceError) -> Self {
        let status = match &error {
            NamespaceError::Name(_) | NamespaceError::Default => StatusCode::BAD_REQUEST,
            NamespaceError::Exists { .. } => StatusCode::CONFLICT,
            NamespaceError::Unknown { .. } => StatusCode::NOT_FOUND,
            NamespaceError::Folder(error) => return Self::internal(error),
        };
        Self::new(status, error.to_string())
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        let status = match &error {
            SecretError::Name { .. } | SecretError::TooLarge { .. } => StatusCode::BAD_REQUEST,
            SecretError::Exists { .. } => StatusCode::CONFLICT,
            SecretError::Unknown { .. } => StatusCode::NOT_FOUND,
            SecretError::Io { .. } => return Self::internal(&error),
        };
        Self::new(status, error.to_string())
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        let status = match &error {
            DeployError::Exists(_) | DeployError::Foreign(_) => StatusCode::CONFLICT,
            DeployError::Unknown(_) => StatusCode::NOT_FOUND,
            DeployError::Folder(error) => return Self::internal(error),
            DeployError::Registry(error) => return Self::internal(error),
            DeployError::Start(error) => return Self::internal(error),
            DeployError::Secret(SecretError::Io { .. })
            | DeployError::Namespace(NamespaceError::Folder(_)) => return Self::internal(&error),
            DeployError::Name(_)
            | DeployError::Namespace(_)
            | DeployError::Secret(_)
            | DeployError::Setting(_)
            | DeployError::UnknownImage { .. }
            | DeployError::Command { .. }
            | DeployError::Directory { .. }
            | DeployError::NoDirectory { .. }
            | DeployError::Mode { .. }
            | DeployError::Limits(_)
            | DeployError::HealthPath { .. }
            | DeployError::Replicas { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        let text = match rejection.status() {
            StatusCode::BAD_REQUEST => {
                "the body broke off; send all that Content-Length says".into()
            }
            _ => rejection.body_text(),
        };
        Self::new(rejection.status(), text)
    }
}
