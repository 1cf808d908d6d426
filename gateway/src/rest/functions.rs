//! `/system/functions` and `/system/function/NAME`.

use std::sync::Arc;

use super::body::Whole;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::{Extension, Json};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;

use super::problem::Problem;
use super::status::FunctionStatus;
use super::{InNamespace, ShowsEnvironment, or_default};
use crate::deployments::{DeployError, Deployment, Deployments};
use crate::functions::{Function, FunctionName};

/// Whether a query asks what functions take: `usage=1`, as OpenFaaS's clients send it, or `true`.
pub(super) struct WantsUsage(bool);

impl WantsUsage {
    async fn look(&self, deployments: &Deployments) {
        if self.0 {
            deployments.meter().look().await;
        }
    }

    fn status(&self, function: &Function, shows: ShowsEnvironment) -> FunctionStatus {
        let status = FunctionStatus::of(function, shows);
        match self.0 {
            true => status.with_usage(function),
            false => status,
        }
    }
}

impl<S> FromRequestParts<S> for WantsUsage
where
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(default)]
            usage: String,
        }
        let query: Query<Asked> = Query::from_request_parts(parts, state).await?;
        Ok(Self(["1", "true"].contains(&query.0.usage.as_str())))
    }
}

pub(super) async fn list(
    State(deployments): State<Arc<Deployments>>,
    Extension(shows): Extension<ShowsEnvironment>,
    namespace: InNamespace,
    usage: WantsUsage,
) -> Json<Vec<FunctionStatus>> {
    let functions = deployments.registry.list(&namespace.0);
    usage.look(&deployments).await;
    let status = |function: &Arc<Function>| usage.status(function, shows);
    Json(functions.iter().map(status).collect())
}

pub(super) async fn describe(
    State(deployments): State<Arc<Deployments>>,
    Extension(shows): Extension<ShowsEnvironment>,
    Path(name): Path<String>,
    namespace: InNamespace,
    usage: WantsUsage,
) -> Result<Json<FunctionStatus>, Problem> {
    let found = namespace.function(&name);
    let found = found.map_err(|_| not_deployed(&name, &namespace.0))?;
    let found = deployments.registry.find(found.qualified());
    let found = found.ok_or_else(|| not_deployed(&name, &namespace.0))?;
    usage.look(&deployments).await;
    Ok(Json(usage.status(&found, shows)))
}

pub(super) async fn deploy(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let deployment: Deployment = Problem::read(&body, "a function's deployment")?;
    deployments.deploy(namespace.0, deployment).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn update(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    let deployment: Deployment = Problem::read(&body, "a function's deployment")?;
    deployments.update(&namespace.0, deployment).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn remove(
    State(deployments): State<Arc<Deployments>>,
    namespace: InNamespace,
    Whole(body): Whole,
) -> Result<StatusCode, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Removal {
        function_name: String,
        #[serde(default)]
        namespace: String,
    }
    let removal: Removal = Problem::read(&body, "{\"functionName\": …}")?;
    let in_namespace = match removal.namespace.as_str() {
        "" => namespace.0,
        _ => or_default(removal.namespace),
    };
    let name = FunctionName::new(&removal.function_name, &in_namespace)?;
    match deployments.remove(&name).await {
        Err(DeployError::Unknown(_)) => Err(not_deployed(name.name(), name.namespace())),
        removed => Ok(removed.map(|()| StatusCode::ACCEPTED)?),
    }
}

pub(super) fn not_deployed(name: &str, namespace: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("function `{name}` is not deployed in namespace `{namespace}`"),
    )
}
