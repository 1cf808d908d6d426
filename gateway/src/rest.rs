//! OpenFaaS's REST API: `/system/…` and `/healthz`. Read-only, so far.

mod status;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::functions::{DEFAULT_NAMESPACE, FunctionName, Registry};
use status::FunctionStatus;

pub(crate) fn router(registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "OK" }))
        .route("/system/info", get(info))
        .route("/system/functions", get(list))
        .route("/system/function/{name}", get(describe))
        .with_state(registry)
}

#[derive(Deserialize)]
struct InNamespace {
    #[serde(default)]
    namespace: String,
}

impl InNamespace {
    /// Clients send an empty value where they mean the default.
    fn or_default(&self) -> &str {
        match self.namespace.as_str() {
            "" => DEFAULT_NAMESPACE,
            namespace => namespace,
        }
    }
}

async fn list(
    State(registry): State<Registry>,
    Query(query): Query<InNamespace>,
) -> Json<Vec<FunctionStatus>> {
    let functions = registry.list(query.or_default());
    Json(functions.iter().map(|f| FunctionStatus::of(f)).collect())
}

/// `usage=` is accepted; no usage is measured yet, and the field is left out.
async fn describe(
    State(registry): State<Registry>,
    Path(name): Path<String>,
    Query(query): Query<InNamespace>,
) -> Response {
    let found = match FunctionName::new(&name, query.or_default()) {
        Ok(name) => registry.find(name.qualified()),
        Err(error) => return (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    };
    match found {
        Some(function) => Json(FunctionStatus::of(&function)).into_response(),
        None => {
            let namespace = query.or_default();
            let text = format!("function `{name}` is not deployed in namespace `{namespace}`\n");
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
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
