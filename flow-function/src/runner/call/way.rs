//! Who makes a call, and how it is answered: functions by the gateway, all else from outside.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use turlough_sdk::Cause;

use crate::gateway::{self, Call, Gateway, GatewayError};
use crate::outside::{self, CallError, Outside, Refused};

/// Who makes a call.
#[derive(Debug)]
pub(super) enum Way {
    Gateway(Gateway),
    Outside(Outside),
}

/// What a call is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Gateway(gateway::Answer),
    Outside(reqwest::Response),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) cause: Cause,
    pub(super) reason: String,
}

impl From<GatewayError> for Unanswered {
    fn from(error: GatewayError) -> Self {
        let cause = match &error {
            GatewayError::Malformed(_) => Cause::Permanent,
            GatewayError::Unmade { .. } => Cause::Transient,
            GatewayError::Lost(_) => Cause::Unanswered,
        };
        let reason = outside::with_sources(error.to_string(), &error);
        Self { cause, reason }
    }
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        if let Some(refused) = Refused::of(&error) {
            let (cause, reason) = (Cause::Permanent, refused.to_string());
            return Self { cause, reason };
        }
        let cause = if error.is_malformed() {
            Cause::Permanent
        } else if error.is_unmade() {
            Cause::Transient
        } else {
            Cause::Unanswered
        };
        let reason = outside::chain(&error);
        Self { cause, reason }
    }
}

impl Way {
    pub(super) async fn send(
        &self,
        (method, url): (Method, &str),
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Answer, Unanswered> {
        match self {
            Self::Gateway(gateway) => {
                let call = Call {
                    method,
                    path: url,
                    headers,
                    body: body.unwrap_or_default(),
                };
                Ok(Answer::Gateway(gateway.call(call).await?))
            }
            Self::Outside(outside) => {
                let mut call = outside.request(method, url).headers(headers);
                if let Some(body) = body {
                    call = call.body(body);
                }
                Ok(Answer::Outside(outside.send(call).await?))
            }
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Gateway(answer) => answer.status(),
            Self::Outside(answer) => answer.status(),
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Gateway(answer) => answer.headers(),
            Self::Outside(answer) => answer.headers(),
        }
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        match self {
            Self::Gateway(answer) => answer.content_length(),
            Self::Outside(answer) => answer.content_length(),
        }
    }

    /// The next piece of its body; otherwise why that broke off.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Gateway(answer) => {
                let chunk = answer.chunk().await;
                chunk.map_err(|error| outside::with_sources(error.to_string(), &error))
            }
            Self::Outside(answer) => {
                let chunk = answer.chunk().await;
                chunk.map_err(|error| outside::without_url(&error))
            }
        }
    }

    /// Its body is of no interest.
    pub(super) fn discard(self) {
        match self {
            Self::Gateway(answer) => answer.discard(),
            Self::Outside(answer) => drop(answer),
        }
    }
}
