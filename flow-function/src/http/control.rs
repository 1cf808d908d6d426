//! `POST /requests/<id>/{pause,resume,cancel,restart}`, `/requests/<id>/signals/<name>` and
//! `/callbacks/<token>`.
//!
//! Invariant: with an `Idempotency-Key`, the same asked again is answered as the first time; keys of
//! different questions do not meet.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use turlough_sdk::{Producer, RequestId, SignalName, StepPath};

use super::body::{self, Limit};
use super::extract::{Key, Path, Query, shortened, single};
use super::problem::Problem;
use super::requests::{STEP_BYTES_MAX, parse, standing};
use super::start::accepted;
use crate::engine::{CallbackError, Control, ControlError, Engine};

/// What a restart's body may hold: a path of a step, and little else.
const RESTART_LIMIT: Limit = Limit {
    bytes: 64 * 1024,
    remedy: "send {\"from\": STEP, \"version\": \"current\"}",
    within: None,
};
/// Longest token of a callback; ours are shorter.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn pause(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    key: Key,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    control(
        &engine,
        parse(&id)?,
        Control::Pause,
        ("pause", key),
        &headers,
    )
    .await
}

pub(super) async fn resume(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    key: Key,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    control(
        &engine,
        parse(&id)?,
        Control::Resume,
        ("resume", key),
        &headers,
    )
    .await
}

pub(super) async fn cancel(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    key: Key,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    control(
        &engine,
        parse(&id)?,
        Control::Cancel,
        ("cancel", key),
        &headers,
    )
    .await
}

/// From where, and on which version; in the query, or in a body of JSON.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartQuery {
    from: Option<String>,
    version: Option<String>,
}

impl RestartQuery {
    fn read(self, body: &str) -> Result<Control, Problem> {
        let bad = |text: &str| Problem::new(StatusCode::BAD_REQUEST, text);
        let asked = if body.trim().is_empty() {
            self
        } else if self == Self::default() {
            serde_json::from_str(body).map_err(|error| {
                bad(&format!(
                    "body is not what a restart takes: {error}; {}",
                    RESTART_LIMIT.remedy
                ))
            })?
        } else {
            return Err(bad(
                "a restart is asked for in the query or in the body, not in both",
            ));
        };
        let current = match asked.version.as_deref() {
            None => false,
            Some("current") => true,
            Some(other) => {
                let text = format!(
                    "version {:?} is none to restart on; write current, or leave it out",
                    shortened(other)
                );
                return Err(bad(&text));
            }
        };
        let from = asked.from.map(|text| {
            let step = StepPath::from(text.as_str());
            let known = text.len() <= STEP_BYTES_MAX && step.segments().is_ok();
            known.then_some(step).ok_or_else(|| {
                let text = format!(
                    "from {:?} is no step of the flow; write the path of one, as the request \
                     shows it",
                    shortened(&text)
                );
                Problem::new(StatusCode::NOT_FOUND, &text)
            })
        });
        let from = from.transpose()?;
        Ok(Control::Restart { from, current })
    }
}

pub(super) async fn restart(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Query(query): Query<RestartQuery>,
    key: Key,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let body = body::text(&headers, body, RESTART_LIMIT).await?;
    control(&engine, id, query.read(&body)?, ("restart", key), &headers).await
}

pub(super) async fn signal(
    State(engine): State<Engine>,
    Path((id, name)): Path<(String, String)>,
    key: Key,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let name: SignalName = name.parse().map_err(|error| {
        let text = format!("{error}");
        Problem::new(StatusCode::BAD_REQUEST, &text).with("request_id", id.to_string())
    })?;
    // Nobody sends a body to a request that is not there.
    let last = engine.shared.log.last(id).await;
    let last = last.map_err(|error| ControlError::Read(id, error))?;
    last.ok_or(ControlError::Unknown(id))?;
    let limit = Limit::of_values(&engine.shared.settings);
    let value = body::value(&headers, body, limit).await?;
    let name = name.to_string();
    let asked = format!("signal/{name}");
    let control = Control::Signal { name, value };
    self::control(&engine, id, control, (&asked, key), &headers).await
}

async fn control(
    engine: &Engine,
    request: RequestId,
    control: Control,
    (asked, key): (&str, Key),
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let key = key.0.map(|key| format!("{asked}/{key}"));
    match engine.control(request, control, key.as_deref()).await {
        Ok(()) => {
            let standing = standing(engine, request).await?;
            Ok(accepted(engine, (request, &standing), headers))
        }
        Err(error) => Err(refused(engine, error).await),
    }
}

/// A refusal, with how the request stands; `status` is the document's own.
async fn refused(engine: &Engine, error: ControlError) -> Problem {
    let refuser = match &error {
        ControlError::Refused { request, .. } => Some(*request),
        _ => None,
    };
    let problem = Problem::from(error);
    let Some(request) = refuser else {
        return problem;
    };
    match standing(engine, request).await {
        Ok(standing) => problem.with("request_status", standing.status().name()),
        Err(_) => problem,
    }
}

/// The answer of a function that was called asynchronously; the token says for which attempt.
pub(super) async fn callback(
    State(engine): State<Engine>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(CallbackError::Forged.into());
    }
    let status = function_status(&headers)?;
    let limit = Limit::of_values(&engine.shared.settings);
    let answer = body::untouched(&headers, body, limit, Producer::Function).await?;
    match engine.complete(&token, answer, status).await {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(CallbackError::Control(error)) => Err(refused(&engine, error).await),
        Err(error) => Err(error.into()),
    }
}

/// The status that the function answered with, as the queue tells it.
fn function_status(headers: &HeaderMap) -> Result<Option<u16>, Problem> {
    let Some(value) = single(headers, "x-function-status")? else {
        return Ok(None);
    };
    let status = std::str::from_utf8(value).ok();
    let status = status.and_then(|text| text.trim().parse::<u16>().ok());
    let status = status.filter(|status| (100..1000).contains(status));
    status.map(Some).ok_or_else(|| {
        let found = shortened(&String::from_utf8_lossy(value));
        let text = format!("X-Function-Status {found:?} is no status; send 100 to 999");
        Problem::new(StatusCode::BAD_REQUEST, &text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn restart(query: (Option<&str>, Option<&str>), body: &str) -> Result<String, StatusCode> {
        let (from, version) = query;
        let query = RestartQuery {
            from: from.map(str::to_owned),
            version: version.map(str::to_owned),
        };
        match query.read(body) {
            Ok(Control::Restart { from, current }) => Ok(format!(
                "{} {current}",
                from.map_or_else(String::new, |from| from.to_string())
            )),
            Ok(other) => panic!("{other:?}"),
            Err(problem) => Err(problem.status()),
        }
    }

    #[test]
    fn a_restart_is_asked_for_in_the_query_or_in_json() {
        let check = |query, body: &str, expected: &str| {
            assert_eq!(restart(query, body), Ok(expected.to_owned()), "{body}");
        };
        check((None, None), "", " false");
        check((None, None), " \n", " false");
        check((None, None), "{}", " false");
        check((Some("a[1]/b"), Some("current")), "", "a[1]/b true");
        check(
            (None, None),
            r#"{"from": "poll#2/get"}"#,
            "poll#2/get false",
        );
        check((None, None), r#"{"version": "current"}"#, " true");
    }

    #[test]
    fn what_is_no_restart_is_refused() {
        let bad = StatusCode::BAD_REQUEST;
        let deep = "[".repeat(60_000);
        for body in [
            "x",
            "[1]",
            "null",
            "{\"form\": \"a\"}",
            "{\"from\": 1}",
            &deep,
        ] {
            assert_eq!(restart((None, None), body), Err(bad), "{body}");
        }
        assert_eq!(restart((Some("a"), None), "{}"), Err(bad), "said twice");
        assert_eq!(restart((None, Some("v7")), ""), Err(bad));
        let long = "a/".repeat(5_000) + "a";
        for from in [
            "",
            "/",
            "a/",
            "a[x]/b",
            "~finally/a",
            "a/~compensate",
            "é\0",
            &long,
        ] {
            let found = restart((Some(from), None), "");
            assert_eq!(found, Err(StatusCode::NOT_FOUND), "{from}");
        }
    }

    #[test]
    fn a_functions_status_is_a_number_or_nothing() {
        let read = |value: &[u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            let headers = HeaderMap::from_iter([("x-function-status".parse().unwrap(), value)]);
            function_status(&headers).map_err(|problem| problem.status())
        };
        assert_eq!(function_status(&HeaderMap::new()).unwrap(), None);
        assert_eq!(read(b"200"), Ok(Some(200)));
        assert_eq!(read(b" 503"), Ok(Some(503)));
        for bad in [&b""[..], b"OK", b"-1", b"0", b"99999", b"\xff"] {
            assert_eq!(read(bad), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }
}
