//! `/system/scale-function/NAME`, and `/system/alert`, by which Prometheus's Alertmanager scales.

use std::sync::Arc;

use super::body::Whole;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;

use super::InNamespace;
use super::functions::not_deployed;
use super::problem::Problem;
use crate::deployments::{DeployError, Deployments};
use crate::functions::FunctionName;

pub(super) async fn scale(
    State(deployments): State<Arc<Deployments>>,
    Path(name): Path<String>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    #[derive(Deserialize)]
    struct Wanted {
        replicas: u32,
        #[serde(default)]
        namespace: String,
    }
    let wanted: Wanted = Problem::read(&body, "{\"serviceName\": …, \"replicas\": …}")?;
    let in_namespace = match wanted.namespace.as_str() {
        "" => &namespace.0,
        named => named,
    };
    let name = FunctionName::new(&name, in_namespace)?;
    match deployments.scale(&name, wanted.replicas).await {
        Err(DeployError::Unknown(_)) => Err(not_deployed(name.name(), name.namespace())),
        scaled => Ok(scaled.map(|()| StatusCode::ACCEPTED)?),
    }
}

/// Version 4 of Alertmanager's message: what fires adds replicas, what is resolved takes them back.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    status: String,
    #[serde(default)]
    labels: Labels,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(default)]
    function_name: String,
}

pub(super) async fn alert(
    State(deployments): State<Arc<Deployments>>,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let message: Message = Problem::read(&body, "a message of Alertmanager")?;
    let mut problem = None;
    for alert in &message.alerts {
        // One that cannot be followed keeps none of the others from it.
        if let Err(error) = follow(&deployments, alert).await {
            problem.get_or_insert(error);
        }
    }
    problem.map_or(Ok(StatusCode::OK), Err)
}

async fn follow(deployments: &Deployments, alert: &Alert) -> Result<(), Problem> {
    let name = FunctionName::parse(&alert.labels.function_name)?;
    let function = deployments.registry.find(name.qualified());
    let function = function.ok_or_else(|| not_deployed(name.name(), name.namespace()))?;
    let scaling = function.deployed().scaling;
    let replicas = match alert.status.as_str() {
        "firing" => scaling.more(function.replicas()),
        "resolved" => scaling.min,
        other => {
            let text = format!("alert's status `{other}` is neither firing nor resolved");
            return Err(Problem::new(StatusCode::BAD_REQUEST, text));
        }
    };
    Ok(deployments.scale(&name, replicas).await?)
}
