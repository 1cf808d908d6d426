//! The gateway of a kit: `/function/NAME…`, `/async-function/NAME…`, and the flows as a function of
//! their own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use reqwest::header::CONTENT_TYPE;
use tower_service::Service as _;
use tracing::warn;

use super::stubs::Stubs;
use super::{Answer, Call};
use crate::engine::Engine;

const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");

#[derive(Debug, Clone)]
struct Gateway {
    stubs: Arc<Stubs>,
    /// The flows' own function, and its routes.
    own: String,
    flows: Router,
    client: reqwest::Client,
}

pub(super) fn router(engine: Engine, stubs: Arc<Stubs>) -> Router {
    let gateway = Gateway {
        stubs,
        own: engine.shared.settings.function.to_string(),
        client: engine.shared.client.clone(),
        flows: crate::http::router(engine),
    };
    Router::new().fallback(call).with_state(gateway)
}

/// Answers a call, or takes it on.
async fn call(State(mut gateway): State<Gateway>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (is_async, rest) = match path.strip_prefix("/async-function/") {
        Some(rest) => (true, rest),
        None => (false, path.strip_prefix("/function/").unwrap_or_default()),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (function, rest) = rest.split_at(end);
    if function.is_empty() {
        let text = format!(
            "test kit: {path} is no path of a function; call /function/NAME or /async-function/NAME"
        );
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    if function == gateway.own && !is_async {
        return match inside(request, rest) {
            Ok(request) => gateway.flows.call(request).await.into_response(),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        };
    }
    let (function, rest) = (function.to_owned(), rest.to_owned());
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // The caller has gone, as at a timeout: nobody waits for an answer.
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let call = Call::new((function, rest), &head, body, is_async);
    if !is_async {
        return answered(&gateway.stubs, call).await.into_response();
    }
    let callback = head.headers.get(CALLBACK_URL).cloned();
    let callback = callback.and_then(|url| url.to_str().ok().map(str::to_owned));
    tokio::spawn(async move {
        let answer = answered(&gateway.stubs, call).await;
        if let Some(url) = callback {
            call_back(&gateway.client, &url, answer).await;
        }
    });
    StatusCode::ACCEPTED.into_response()
}

/// The same request, as the function behind the gateway gets it.
fn inside(mut request: Request, path: &str) -> Result<Request, axum::http::uri::InvalidUri> {
    let path = if path.is_empty() { "/" } else { path };
    let uri: Uri = match request.uri().query() {
        Some(query) => format!("{path}?{query}").parse()?,
        None => path.parse()?,
    };
    *request.uri_mut() = uri;
    Ok(request)
}

/// A stub may take its time, and holds no thread of the runtime.
async fn answered(stubs: &Arc<Stubs>, call: Call) -> Answer {
    let stubs = Arc::clone(stubs);
    let answer = match tokio::task::spawn_blocking(move || stubs.answer(call)).await {
        Ok(answer) => answer,
        Err(error) => Answer::from(error.to_string()).with_status(500),
    };
    tokio::time::sleep(answer.after).await;
    answer
}

/// Brings an answer as OpenFaaS's queue does.
async fn call_back(client: &reqwest::Client, url: &str, answer: Answer) {
    let mut headers = HeaderMap::new();
    if let Some(media) = answer.headers.get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, media.clone());
    }
    let call = client
        .post(url)
        .headers(headers)
        .header("x-function-status", answer.status.as_u16())
        .body(answer.body);
    match call.send().await.map(reqwest::Response::error_for_status) {
        Ok(Ok(_)) => {}
        Ok(Err(error)) | Err(error) => warn!(%error, "a stub's answer was not taken"),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
