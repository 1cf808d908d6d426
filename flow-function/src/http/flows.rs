//! `/flows`: what is served here, as JSON, DOT or Mermaid, and flows that are put here as YAML.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use turlough_sdk::{Flow, FlowName, picture, read_yaml};

use super::body::{self, Limit};
use super::extract::{Path, Query, shortened};
use super::problem::Problem;
use super::requests::location;
use crate::engine::Engine;
use crate::registry::Put;

/// What a flow's text may hold: as much as the reader takes.
const TEXT_LIMIT: Limit = Limit {
    bytes: 8 * 1024 * 1024,
    remedy: "split the flow, or use for_each",
    within: None,
};

/// What a flow may be sent as; JSON is YAML.
const MEDIA: [&str; 5] = [
    "text/yaml",
    "application/yaml",
    "text/x-yaml",
    "application/x-yaml",
    "application/json",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    format: Option<String>,
    version: Option<String>,
}

pub(super) async fn list(State(engine): State<Engine>) -> Response {
    let flows: Vec<_> = engine.flows().iter().map(|flow| summary(flow)).collect();
    axum::Json(json!({
        "function": engine.shared.settings.function.as_str(),
        "replica": engine.shared.replica.to_string(),
        "flows": flows,
    }))
    .into_response()
}

fn summary(flow: &Flow) -> Json {
    json!({
        "name": flow.name().as_str(),
        "version": flow.version().as_str(),
        "nodes": flow.graph().nodes.len(),
    })
}

/// `?format=json|dot|mermaid`, or by `Accept`; JSON where neither says. `?version=` shows one that
/// requests still run on.
pub(super) async fn show(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    Query(query): Query<ShowQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut flow = engine.newest(&name).await?;
    if let Some(version) = query.version {
        flow = engine.definition(flow.name(), &version).ok_or_else(|| {
            let (version, current) = (shortened(&version), flow.version());
            let text = format!("no version {version:?} of flow {name} here; current is {current}");
            Problem::new(StatusCode::NOT_FOUND, &text).with("flow", name)
        })?;
    }
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
            let other = shortened(other);
            let text = format!("format {other:?} is unknown; write json, dot or mermaid");
            return Err(Problem::new(StatusCode::BAD_REQUEST, &text));
        }
    };
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}

/// Serves the flow in the body from now on; open requests keep their version.
pub(super) async fn put(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_media(&headers)?;
    let text = body::text(&headers, body, TEXT_LIMIT).await?;
    // A large flow takes the processor for a while.
    let (read, text) = tokio::task::spawn_blocking(move || (read_yaml(&text), text))
        .await
        .map_err(|error| {
            let text = format!("the flow could not be read: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &text)
        })?;
    let flow = read?;
    check_name(&name, flow.name())?;
    let (name, mut view) = (flow.name().clone(), summary(&flow));
    let put = engine.shared.publish(flow, &text).await?;
    let (status, word) = match put {
        Put::Created => (StatusCode::CREATED, "created"),
        Put::Replaced => (StatusCode::OK, "replaced"),
        Put::Unchanged => (StatusCode::OK, "unchanged"),
    };
    view["put"] = word.into();
    // So that who has just deployed the function knows that what replaced it has the flow.
    view["replica"] = engine.shared.replica.to_string().into();
    let place = location(&engine, &format!("flows/{name}"), &headers);
    Ok((status, [(header::LOCATION, place)], axum::Json(view)).into_response())
}

/// Who says nothing sends YAML.
fn check_media(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(said) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let said = String::from_utf8_lossy(said.as_bytes());
    let essence = said.split(';').next().unwrap_or_default().trim();
    if MEDIA
        .iter()
        .any(|media| media.eq_ignore_ascii_case(essence))
    {
        return Ok(());
    }
    let text = format!(
        "content type {:?} is none of a flow; send {}",
        shortened(essence),
        MEDIA.join(", ")
    );
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text))
}

fn check_name(path: &str, found: &FlowName) -> Result<(), Problem> {
    if path == found.as_str() {
        return Ok(());
    }
    let text = format!(
        "the flow is named {found}, and is put to {:?}; write the same name",
        shortened(path)
    );
    let problems = json!([{ "line": null, "node": null, "message": text }]);
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &text)
        .with("flow", found.as_str())
        .with("problems", problems))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_flow_is_sent_as_yaml_or_json_or_without_a_type() {
        let check = |said: &[u8]| {
            let said = HeaderValue::from_bytes(said).unwrap();
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, said)]);
            check_media(&headers).map_err(|problem| problem.status())
        };
        assert!(check_media(&HeaderMap::new()).is_ok());
        for good in [
            &b"text/yaml"[..],
            b"Application/YAML; charset=utf-8",
            b"application/json",
        ] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            &b""[..],
            b"text/html",
            b"\xff",
            b"application/x-www-form-urlencoded",
        ] {
            assert_eq!(check(bad), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
    }

    #[test]
    fn what_is_wrong_with_a_flow_is_told_by_line_and_node() {
        let problem =
            Problem::from(read_yaml("flow: f\nnodes:\n  a: { pass: '}' }\n").unwrap_err());
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let first = &problem.body()["problems"][0];
        assert_eq!(
            (first["line"].as_u64(), first["node"].as_str()),
            (Some(3), Some("a"))
        );
        assert!(
            first["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        let other = check_name("g", &"f".parse().unwrap()).unwrap_err();
        assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(other.body()["problems"].is_array());
        assert!(check_name("f", &"f".parse().unwrap()).is_ok());
    }
}
