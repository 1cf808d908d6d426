//! The body of a request of the API.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};

use super::problem::Problem;

/// A body that came whole, within the limit.
#[derive(Debug)]
pub(super) struct Whole(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}
