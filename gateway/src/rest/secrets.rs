//! `/system/secrets`: written, and never told again.

use std::sync::Arc;

use super::body::Whole;
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::InNamespace;
use super::problem::Problem;
use crate::deployments::{DeployError, Deployments};
use crate::namespaces::NamespaceError;

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    value: String,
    /// Bytes in base64, in the value's place.
    #[serde(default)]
    raw_value: Option<String>,
}

pub(super) async fn list(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
) -> Result<Json<Vec<Listed>>, Problem> {
    let namespace = namespace.0;
    known(&deployments, &namespace)?;
    let names = deployments.secrets.list(&namespace);
    let names = names
        .map_err(|error| Problem::internal(&error))?
        .into_iter();
    let listed = names.map(|name| Listed {
        name,
        namespace: namespace.clone(),
    });
    Ok(Json(listed.collect()))
}

pub(super) async fn create(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let (written, namespace, value) = read(&deployments, namespace, &body)?;
    let changed = deployments
        .change_secrets(&namespace, |secrets| {
            secrets.create(&namespace, &written.name, &value)
        })
        .await;
    accepted(changed)
}

pub(super) async fn update(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let (written, namespace, value) = read(&deployments, namespace, &body)?;
    let changed = deployments
        .change_secrets(&namespace, |secrets| {
            secrets.update(&namespace, &written.name, &value)
        })
        .await;
    accepted(changed)
}

pub(super) async fn remove(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let (written, namespace, _) = read(&deployments, namespace, &body)?;
    let changed = deployments
        .change_secrets(&namespace, |secrets| {
            secrets.remove(&namespace, &written.name)
        })
        .await;
    accepted(changed)
}

/// Another status than where a function's deployment names the secret.
fn accepted(changed: Result<(), DeployError>) -> Result<StatusCode, Problem> {
    match changed {
        Err(DeployError::Secret(error)) => Err(error.into()),
        changed => Ok(changed.map(|()| StatusCode::ACCEPTED)?),
    }
}

/// The secret, its namespace, which exists, and its value.
fn read(
    deployments: &Deployments,
    of_query: InNamespace,
    body: &[u8],
) -> Result<(Written, String, Vec<u8>), Problem> {
    let written: Written = Problem::read(body, "a secret")?;
    let namespace = match written.namespace.as_str() {
        "" => of_query.0,
        named => named.to_owned(),
    };
    known(deployments, &namespace)?;
    let value = match &written.raw_value {
        None => written.value.clone().into_bytes(),
        Some(raw) => STANDARD.decode(raw).map_err(|error| {
            let text = format!("secret `{}`: rawValue is not base64: {error}", written.name);
            Problem::new(StatusCode::BAD_REQUEST, text)
        })?,
    };
    Ok((written, namespace, value))
}

/// OpenFaaS's status for a namespace that a request only mentions.
fn known(deployments: &Deployments, namespace: &str) -> Result<(), Problem> {
    let known = deployments.namespaces.check(namespace);
    known.map_err(|error: NamespaceError| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}
