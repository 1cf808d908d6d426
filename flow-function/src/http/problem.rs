//! Problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use tracing::error;
use turlough_sdk::FlowError;

use crate::engine::{
    AttendError, CallbackError, ControlError, FoldError, StartError, StepValueError, TRUNCATED,
};
use crate::lists::ListError;
use crate::machine::{Refusal, RestoreError};
use crate::published::PublishError;
use crate::registry::RegisterError;
use turlough_keeper::KeeperError;
use turlough_statestore::StateError;

/// An error as the caller sees it.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    body: Json,
    retry_after_s: Option<u32>,
    /// What a caller who is not known may send.
    challenge: &'static str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
        Self {
            status,
            body,
            retry_after_s: None,
            challenge: "Bearer",
        }
    }

    /// Says what else than a token lets a caller in.
    pub(super) fn challenged_by(mut self, challenge: &'static str) -> Self {
        self.challenge = challenge;
        self
    }

    /// Adds a member, such as the request's id.
    pub(super) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.body[name] = value.into();
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    fn too_large(text: &str, size: usize, limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            .with("size", size)
            .with("limit", limit)
    }

    /// What could not be done, and what the state's answer means for whoever asked; the answer itself
    /// stays in the log.
    fn of_state(text: &str, cause: &StateError) -> Self {
        let means = match cause {
            StateError::Unreadable { .. } => {
                // No trying again mends it, and it says of the log alone what is in it.
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, &cause.to_string());
            }
            StateError::Unanswered { .. } | StateError::Unavailable { .. } => {
                "the state does not answer; try again"
            }
            StateError::Full { .. } => "the state has no room; try again later",
            StateError::Refused { .. } | StateError::Setting { .. } => {
                "the state does not permit it, as this function's log says; try again once that is mended"
            }
            StateError::Conflict { .. } => "others were in between; try again",
            StateError::TooLarge { .. } => "it is too large",
        };
        let detail = format!("{text}: {means}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, &detail).retry_after(1)
    }

    #[cfg(test)]
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(super) const fn body(&self) -> &Json {
        &self.body
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
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(self.challenge),
            );
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
            StartError::NoSubflow(flow) => {
                Self::new(StatusCode::NOT_FOUND, &text).with("flow", flow.as_str())
            }
            StartError::InputTooLarge { size, limit } => Self::too_large(&text, size, limit),
            StartError::Replayed { request } => {
                Self::new(StatusCode::CONFLICT, &text).with("request_id", request.to_string())
            }
            StartError::KeyReused { request } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, &text)
                .with("request_id", request.to_string()),
            StartError::InvalidCallback { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, &text)
            }
            StartError::Full { .. }
            | StartError::LogFull { .. }
            | StartError::DataFull(_)
            | StartError::StoreFull(_)
            | StartError::Abandoned { .. }
            | StartError::Draining => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
            }
            StartError::Lost => {
                error!("a request's task was lost while it was recorded");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, &text)
            }
            StartError::Absent(cause) => {
                error!(%cause, "replica cannot take requests");
                match &cause {
                    AttendError::State(cause) => Self::of_state(&text, cause),
                    AttendError::Keeper(_) => {
                        Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
                    }
                }
            }
            StartError::Log(cause) => {
                error!(%cause, "request could not be recorded");
                Self::of_state(&text, &cause)
            }
            StartError::Unsure { request, cause } => {
                error!(%request, %cause, "nobody answered whether a request was recorded");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text)
                    .with("request_id", request.to_string())
                    .retry_after(1)
            }
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        let text = error.to_string();
        match error {
            ListError::Keeper(KeeperError::NoPlace(_)) | ListError::Refused { .. } => {
                Self::new(StatusCode::BAD_REQUEST, &text)
            }
            ListError::Keeper(cause) => {
                error!(%cause, "requests cannot be listed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
            }
            ListError::NoKeeper | ListError::Away { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(5)
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
            ControlError::Refused { request, refusal } => {
                Self::new(refused(&refusal), &text).with("request_id", request.to_string())
            }
            ControlError::TooLarge { size, limit } => Self::too_large(&text, size, limit),
            ControlError::Fold(FoldError::Restore {
                request,
                why: RestoreError::Truncated,
            }) => Self::new(StatusCode::GONE, TRUNCATED).with("request_id", request.to_string()),
            ControlError::Fold(cause) => {
                error!(%cause, "request cannot be read");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(5)
            }
            ControlError::Log(request, cause) => {
                error!(%request, %cause, "what was asked of a request could not be recorded");
                Self::of_state(&text, &cause).with("request_id", request.to_string())
            }
            ControlError::Read(request, cause) => {
                error!(%request, %cause, "request cannot be read");
                Self::of_state(&text, &cause).with("request_id", request.to_string())
            }
        }
    }
}

/// A transition that is impossible is a conflict; what is named and is not there is not found.
const fn refused(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoStep(_) => StatusCode::NOT_FOUND,
        Refusal::Ended
        | Refusal::Unwinding
        | Refusal::NotPaused
        | Refusal::Running
        | Refusal::Succeeded
        | Refusal::Closed
        | Refusal::Signals
        | Refusal::NoVersion(_)
        | Refusal::Misfit { .. }
        | Refusal::NotWaiting
        | Refusal::Foreign => StatusCode::CONFLICT,
    }
}

impl From<CallbackError> for Problem {
    fn from(error: CallbackError) -> Self {
        match error {
            CallbackError::Forged => Self::new(StatusCode::FORBIDDEN, &error.to_string()),
            CallbackError::Control(error) => error.into(),
        }
    }
}

impl From<StepValueError> for Problem {
    fn from(error: StepValueError) -> Self {
        let text = error.to_string();
        match error {
            StepValueError::Control(error) => error.into(),
            StepValueError::NoStep { request, step } => Self::new(StatusCode::NOT_FOUND, &text)
                .with("request_id", request.to_string())
                .with("step", step.as_str()),
            StepValueError::NotYet { request, step } => Self::new(StatusCode::CONFLICT, &text)
                .with("request_id", request.to_string())
                .with("step", step.as_str()),
            StepValueError::Gone(_) => Self::new(StatusCode::GONE, &text),
            StepValueError::Away(_) | StepValueError::OutputAway(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &text).retry_after(1)
            }
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Register(error) => error.into(),
            PublishError::TooLarge { flow, .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, &text).with("flow", flow.as_str())
            }
            PublishError::State { flow, source } => {
                Self::from(StartError::Log(source)).with("flow", flow.as_str())
            }
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        let text = error.to_string();
        match error {
            RegisterError::Reserved(flow) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, &text)
                .with("flow", flow.as_str())
                .with(
                    "problems",
                    json!([{ "line": null, "node": null, "message": text }]),
                ),
            RegisterError::Twice(flow)
            | RegisterError::Compiled(flow)
            | RegisterError::Versions(flow) => {
                Self::new(StatusCode::CONFLICT, &text).with("flow", flow.as_str())
            }
        }
    }
}

/// Every problem of a flow, each with its line and node where it has them.
impl From<FlowError> for Problem {
    fn from(error: FlowError) -> Self {
        let found = error.problems().iter();
        let problems: Vec<_> = found
            .map(|p| json!({ "line": p.line, "node": p.node, "message": p.message }))
            .collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()).with("problems", problems)
    }
}
