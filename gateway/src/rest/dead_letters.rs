//! `/system/dead-letters`: asynchronous calls that were given up. OpenFaaS has none; its users have asked.

use axum::extract::{Path, Query};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::problem::Problem;
use crate::asynchronous::{AsyncCalls, Shown, time};

/// How many are shown where nobody says it.
const LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    function: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

pub(super) async fn list(
    Extension(calls): Extension<AsyncCalls>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Value>>, Problem> {
    let Query(which) = which?;
    let function = which.function.filter(|function| !function.is_empty());
    let limit = which.limit.unwrap_or(LIMIT);
    let letters = calls.dead_letters(function.as_deref(), limit);
    Ok(Json(letters.iter().map(show).collect()))
}

fn show(letter: &Shown) -> Value {
    json!({
        "id": letter.id,
        "callId": letter.call_id,
        "function": letter.function,
        "attempts": letter.attempts,
        "status": letter.status,
        "acceptedAt": time(letter.accepted_ms),
        "diedAt": time(letter.died_ms),
    })
}

/// The call is queued anew, with all its attempts.
pub(super) async fn revive(
    Extension(calls): Extension<AsyncCalls>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let revived = calls.revive(read(&id)?).await;
    found(&id, revived.map_err(|error| Problem::internal(&error))?)
}

pub(super) async fn remove(
    Extension(calls): Extension<AsyncCalls>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let removed = calls.forget_dead_letter(read(&id)?).await;
    found(&id, removed.map_err(|error| Problem::internal(&error))?)
}

fn read(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| {
        let text = format!("dead letter {id:?}: not a UUID; take one of GET /system/dead-letters");
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

fn found(id: &str, is_found: bool) -> Result<StatusCode, Problem> {
    match is_found {
        true => Ok(StatusCode::ACCEPTED),
        false => {
            let text = format!("there is no dead letter {id}");
            Err(Problem::new(StatusCode::NOT_FOUND, text))
        }
    }
}
