//! `/flows`: what is served here, as JSON, DOT or Mermaid.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use turlough_sdk::picture;

use super::extract::{Path, Query};
use super::problem::Problem;
use crate::engine::Engine;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    format: Option<String>,
}

pub(super) async fn list(State(engine): State<Engine>) -> Response {
    let flows: Vec<_> = engine
        .flows()
        .iter()
        .map(|flow| {
            json!({
                "name": flow.name().as_str(),
                "version": flow.version().as_str(),
                "nodes": flow.graph().nodes.len(),
            })
        })
        .collect();
    axum::Json(json!({ "function": engine.shared.settings.function.as_str(), "flows": flows }))
        .into_response()
}

/// `?format=json|dot|mermaid`, or by `Accept`; JSON where neither says.
pub(super) async fn show(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    Query(query): Query<ShowQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flow = engine.flow(&name)?;
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = query.format.unwrap_or_else(|| match accept {
        Some(accept) if accept.contains("text/vnd.graphviz") => "dot".to_owned(),
        Some(accept) if accept.contains("text/vnd.mermaid") => "mermaid".to_owned(),
        _ => "json".to_owned(),
    });
    let (media, text) = match format.as_str() {
        "json" => ("application/json", picture::flow_json(&flow).to_string()),
        "dot" => ("text/vnd.graphviz", picture::dot(&flow)),
        "mermaid" => ("text/vnd.mermaid", picture::mermaid(&flow)),
        other => {
            let text = format!("format {other:?} is unknown; write json, dot or mermaid");
            return Err(Problem::new(StatusCode::BAD_REQUEST, &text));
        }
    };
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}
