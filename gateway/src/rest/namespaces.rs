//! `/system/namespaces` and `/system/namespace/NAME`.

use std::sync::Arc;

use super::body::Whole;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;

use super::problem::Problem;
use crate::deployments::{DeployError, Deployments};
use crate::namespaces::Namespace;

pub(super) async fn names(State(deployments): State<Arc<Deployments>>) -> Json<Vec<String>> {
    Json(deployments.namespaces.names())
}

pub(super) async fn describe(
    State(deployments): State<Arc<Deployments>>,
    Path(name): Path<String>,
) -> Result<Json<Namespace>, Problem> {
    let found = deployments.namespaces.find(&name);
    found.map(Json).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("namespace `{name}` does not exist"),
        )
    })
}

/// The body names it; the path may.
pub(super) async fn create(
    State(deployments): State<Arc<Deployments>>,
    path: Option<Path<String>>,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let namespace = read(path, &body)?;
    deployments.namespaces.create(namespace)?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn update(
    State(deployments): State<Arc<Deployments>>,
    path: Path<String>,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let namespace = read(Some(path), &body)?;
    deployments.namespaces.update(namespace)?;
    Ok(StatusCode::ACCEPTED)
}

/// Functions and secrets in it go with it.
pub(super) async fn remove(
    State(deployments): State<Arc<Deployments>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    match deployments.remove_namespace(&name).await {
        Err(DeployError::Namespace(error)) => Err(error.into()),
        removed => Ok(removed.map(|()| StatusCode::ACCEPTED)?),
    }
}

fn read(path: Option<Path<String>>, body: &[u8]) -> Result<Namespace, Problem> {
    let mut namespace: Namespace = Problem::read(body, "a namespace")?;
    if let Some(Path(name)) = path {
        if !namespace.name.is_empty() && namespace.name != name {
            let text = format!("the body names `{}`, the path `{name}`", namespace.name);
            return Err(Problem::new(StatusCode::BAD_REQUEST, text));
        }
        namespace.name = name;
    }
    Ok(namespace)
}
