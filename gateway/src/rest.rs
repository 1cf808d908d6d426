//! OpenFaaS's REST API: `/system/…` and `/healthz`.
//!
//! Statuses are those that OpenFaaS's own clients expect, also where its specification says another;
//! bodies of errors are text. Everything under `/system/` asks for the password, where there is one.

mod auth;
mod body;
mod dead_letters;
mod functions;
mod logs;
mod namespaces;
mod problem;
mod scale;
mod secrets;
mod status;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Query};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;

pub(crate) use auth::Access;
pub use auth::BasicAuthError;
use problem::Problem;

use crate::asynchronous::AsyncCalls;
use crate::deployments::Deployments;
use crate::functions::{DEFAULT_NAMESPACE, FunctionName};

/// A secret of the largest size, in base64, and what is around it.
const BODY_BYTES_MAX: usize = 2 << 20;

pub(crate) fn router(
    deployments: Arc<Deployments>,
    async_calls: AsyncCalls,
    access: Access,
) -> Router {
    let system = Router::new()
        .route("/info", get(info))
        .route(
            "/functions",
            get(functions::list)
                .post(functions::deploy)
                .put(functions::update)
                .delete(functions::remove),
        )
        .route("/function/{name}", get(functions::describe))
        .route("/scale-function/{name}", post(scale::scale))
        .route("/alert", post(scale::alert))
        .route(
            "/secrets",
            get(secrets::list)
                .post(secrets::create)
                .put(secrets::update)
                .delete(secrets::remove),
        )
        .route("/namespaces", get(namespaces::names))
        .route("/namespace/", post(namespaces::create))
        .route(
            "/namespace/{name}",
            get(namespaces::describe)
                .post(namespaces::create)
                .put(namespaces::update)
                .delete(namespaces::remove),
        )
        .route("/logs", get(logs::read))
        .route("/dead-letters", get(dead_letters::list))
        .route(
            "/dead-letters/{id}",
            post(dead_letters::revive).delete(dead_letters::remove),
        )
        // So that the password is asked for here, too.
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is no such route") });
    let shows = ShowsEnvironment(!matches!(access, Access::Look));
    let system = system
        .layer(Extension(shows))
        .layer(Extension(async_calls))
        .layer(Extension(logs::Readers::new()))
        .layer(middleware::from_fn_with_state(access, auth::check));
    Router::new()
        .route("/healthz", get(|| async { "OK" }))
        .route("/openapi.yaml", get(openapi))
        .nest("/system", system)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(deployments)
}

/// Whether functions' variables are shown, which may hold what is for those alone who may deploy.
#[derive(Clone, Copy)]
struct ShowsEnvironment(bool);

/// The namespace that a query names.
struct InNamespace(String);

impl InNamespace {
    /// The function of a name in it.
    fn function(&self, name: &str) -> Result<FunctionName, Problem> {
        Ok(FunctionName::new(name, &self.0)?)
    }
}

impl<S> FromRequestParts<S> for InNamespace
where
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            namespace: String,
        }
        let query: Query<Named> = Query::from_request_parts(parts, state).await?;
        Ok(Self(or_default(query.0.namespace)))
    }
}

/// Clients send an empty namespace, or none, where they mean the default.
fn or_default(namespace: String) -> String {
    match namespace.as_str() {
        "" => DEFAULT_NAMESPACE.to_owned(),
        _ => namespace,
    }
}

/// What this API is, for those who read such.
async fn openapi() -> impl IntoResponse {
    let kind = [(CONTENT_TYPE, "application/yaml")];
    (kind, include_str!("rest/openapi.yaml"))
}

async fn info() -> Json<serde_json::Value> {
    let version = json!({
        "commit_message": "",
        "sha": "",
        "release": env!("CARGO_PKG_VERSION"),
    });
    let provider = json!({
        "provider": "turlough-gateway",
        "version": version,
        "orchestration": "processes",
    });
    Json(json!({
        "provider": provider,
        "version": version,
        "arch": arch(),
    }))
}

/// Go's names, which clients of OpenFaaS expect.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86_64",
        "aarch64" => "arm64",
        other => other,
    }
}
