//! `/requests`: lists, rows, deletion.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use turlough_sdk::{FlowName, FunctionName, RequestId};

use super::Problem;
use crate::keeper::{DeleteError, Keeper};
use crate::summary::{Filter, STATUSES, Status, row_json, summary_json};

/// Most requests in one answer, and how many where the caller does not say.
const LIST_MAX: usize = 1_000;
const LIST_DEFAULT: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    function: Option<String>,
    flow: Option<String>,
    status: Option<String>,
    parent: Option<String>,
    call_id: Option<String>,
    limit: Option<usize>,
    before: Option<String>,
}

type Listed = Result<Query<ListQuery>, QueryRejection>;
type Named = Result<Path<String>, PathRejection>;

impl ListQuery {
    fn filter(self) -> Result<Filter, Problem> {
        let id = |name: &str, text: Option<String>, write: &str| {
            let id = text.map(|text| text.parse().map_err(|_| wrong(name, &text, write)));
            id.transpose()
        };
        let status = self.status.map(|name| {
            let names = STATUSES.map(Status::name).join(", ");
            Status::of_name(&name).ok_or_else(|| wrong("status", &name, &names))
        });
        if let Some(flow) = &self.flow
            && flow.parse::<FlowName>().is_err()
        {
            return Err(wrong("flow", flow, "the name of a flow"));
        }
        if let Some(function) = &self.function
            && function.parse::<FunctionName>().is_err()
        {
            return Err(wrong("function", function, "the name of a function"));
        }
        if self.limit == Some(0) {
            return Err(wrong("limit", "0", "1 to 1000"));
        }
        Ok(Filter {
            function: self.function,
            flow: self.flow,
            status: status.transpose()?,
            parent: id("parent", self.parent, "the id of a request")?,
            call_id: self.call_id,
            before: id("before", self.before, "the id where the last list ended")?,
            limit: self.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX),
        })
    }
}

fn wrong(name: &str, found: &str, write: &str) -> Problem {
    let found: String = found.chars().take(80).collect();
    let text = format!("{name} {found:?} is unknown; write {write}");
    Problem::new(StatusCode::BAD_REQUEST, &text)
}

/// Newest first; `before=<id>` goes on where a list ended.
pub(super) async fn list(State(keeper): State<Keeper>, query: Listed) -> Result<Response, Problem> {
    let Query(query) = query?;
    listed(&keeper, &query.filter()?).await
}

/// Requests that could not be driven.
pub(super) async fn dead_letters(
    State(keeper): State<Keeper>,
    query: Listed,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let filter = Filter {
        status: Some(Status::Dead),
        ..query.filter()?
    };
    listed(&keeper, &filter).await
}

async fn listed(keeper: &Keeper, filter: &Filter) -> Result<Response, Problem> {
    let found = keeper.list(filter).await?;
    let is_full = found.len() == filter.limit;
    let next = found
        .last()
        .filter(|_| is_full)
        .map(|(id, _)| id.to_string());
    let requests = found.iter().map(|(id, summary)| summary_json(*id, summary));
    let requests: Vec<_> = requests.collect();
    Ok(axum::Json(json!({ "requests": requests, "next": next })).into_response())
}

pub(super) async fn show(State(keeper): State<Keeper>, id: Named) -> Result<Response, Problem> {
    let id = parse(id)?;
    match keeper.get(id).await? {
        Some(summary) => Ok(axum::Json(row_json(id, &summary)).into_response()),
        None => Err(DeleteError::Unknown(id).into()),
    }
}

pub(super) async fn delete(State(keeper): State<Keeper>, id: Named) -> Result<Response, Problem> {
    keeper.delete(parse(id)?).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn parse(id: Named) -> Result<RequestId, Problem> {
    let Path(id) = id?;
    id.parse().map_err(|_| {
        let found: String = id.chars().take(80).collect();
        Problem::new(StatusCode::NOT_FOUND, &format!("no request {found:?} here"))
    })
}
