//! axum's extractors, with problem documents where a path or a query cannot be read.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// What a path names.
pub(super) struct Path<T>(pub(super) T);

/// What a query says.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = AxumPath::from_request_parts(parts, state).await;
        let refuse = |error: PathRejection| Problem::new(error.status(), &error.body_text());
        read.map(|AxumPath(path)| Self(path)).map_err(refuse)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = AxumQuery::from_request_parts(parts, state).await;
        let refuse = |error: QueryRejection| Problem::new(error.status(), &error.body_text());
        read.map(|AxumQuery(query)| Self(query)).map_err(refuse)
    }
}
