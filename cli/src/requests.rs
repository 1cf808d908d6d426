//! `turlough requests`, `request` and `cancel`: what runs and what ran, over all flow-functions.

mod table;

use anyhow::anyhow;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use turlough_sdk::{FlowName, RequestId};

use crate::exit::{Exit, Failure};
use crate::platform::{Held, Platform};
use crate::run::{as_json, exit_of};
use crate::terminal::Terminal;
pub(crate) use table::flows as flows_table;

/// The largest page that a flow-function gives.
const PAGE_MAX: usize = 1_000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough requests
  turlough requests --flow fizz-buzz --status failed --limit 20
  turlough requests --status running --output json | jq -r '.requests[].id'")]
pub(crate) struct ListArguments {
    /// Of this flow only
    #[arg(long)]
    flow: Option<FlowName>,

    /// With this status only
    #[arg(long, value_enum)]
    status: Option<Status>,

    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --result > result.json
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --output json | jq .status")]
pub(crate) struct ShowArguments {
    /// The request's id
    id: RequestId,

    /// Prints its result as it is; the exit code says how it ended
    #[arg(long)]
    result: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  turlough cancel 01a2b3c4-0000-7000-8000-0123456789ab")]
pub(crate) struct CancelArguments {
    /// The request's id
    id: RequestId,
}

/// Merges what the functions say; ids sort by time.
pub(crate) async fn list(
    platform: &Platform,
    terminal: Terminal,
    arguments: &ListArguments,
) -> Result<Exit, Failure> {
    let functions = platform.flow_functions().await?;
    let limit = arguments.limit as usize;
    let pages = functions
        .iter()
        .map(|function| of_function(platform, function, arguments));
    let mut requests: Vec<Json> = try_join_all(pages).await?.into_iter().flatten().collect();
    requests.sort_by(|a, b| b["id"].as_str().cmp(&a["id"].as_str()));
    requests.truncate(limit);
    if functions.is_empty() {
        terminal.note(&format!(
            "no flow-function is deployed at {}",
            platform.base()
        ));
    }
    if terminal.is_json() {
        terminal.json(&json!({ "requests": requests }))?;
    } else if requests.is_empty() {
        terminal.progress("no requests");
    } else {
        terminal.line(&table::requests(&requests))?;
    }
    Ok(Exit::Ok)
}

pub(crate) async fn show(
    platform: &Platform,
    terminal: Terminal,
    arguments: &ShowArguments,
) -> Result<Exit, Failure> {
    let mut held = platform.find_request(arguments.id).await?;
    if arguments.result {
        return result(platform, terminal, arguments.id, &held).await;
    }
    if terminal.is_json() {
        held.request["function"] = held.function.into();
        terminal.json(&held.request)?;
    } else {
        terminal.line(&table::request(&held))?;
    }
    Ok(Exit::Ok)
}

pub(crate) async fn cancel(
    platform: &Platform,
    terminal: Terminal,
    arguments: &CancelArguments,
) -> Result<Exit, Failure> {
    let (id, held) = (arguments.id, platform.find_request(arguments.id).await?);
    let path = format!("/function/{}/requests/{id}/cancel", held.function);
    let answer = platform.post(&path, HeaderMap::new(), Bytes::new()).await?;
    if !answer.status.is_success() {
        return Err(answer.refused(&format!("cancel request {id}")));
    }
    if terminal.is_json() {
        terminal.json(&json!({ "request_id": id.to_string(), "cancel": "asked" }))?;
    } else {
        terminal.progress(&format!("request {id} is being cancelled"));
    }
    Ok(Exit::Ok)
}

async fn result(
    platform: &Platform,
    terminal: Terminal,
    id: RequestId,
    held: &Held,
) -> Result<Exit, Failure> {
    let path = format!("/function/{}/requests/{id}/result", held.function);
    let answer = platform.get(&path).await?;
    let outcome = || {
        let problem: Json = serde_json::from_slice(&answer.body).ok()?;
        Some(problem["outcome"].as_str()?.to_owned())
    };
    let exit = match answer.status {
        StatusCode::OK if terminal.is_json() => {
            let document = json!({ "request_id": id.to_string(), "result": as_json(&answer) });
            terminal.json(&document)?;
            return Ok(Exit::Ok);
        }
        StatusCode::OK => {
            terminal.raw(&answer.body)?;
            return Ok(Exit::Ok);
        }
        StatusCode::ACCEPTED => Exit::NotDone,
        _ => match outcome() {
            Some(outcome) if outcome != "succeeded" => exit_of(&outcome),
            _ => Exit::Platform,
        },
    };
    let why = match exit {
        Exit::NotDone if answer.status == StatusCode::ACCEPTED => "it has not ended yet".to_owned(),
        _ => answer.problem(),
    };
    let cause = anyhow!("request {id} has no result: {why}");
    Err(Failure { exit, cause })
}

async fn of_function(
    platform: &Platform,
    function: &str,
    arguments: &ListArguments,
) -> Result<Vec<Json>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        requests: Vec<Json>,
        next: Option<String>,
    }
    let limit = arguments.limit as usize;
    let mut filter = String::new();
    if let Some(flow) = &arguments.flow {
        filter.push_str(&format!("&flow={flow}"));
    }
    if let Some(status) = arguments
        .status
        .as_ref()
        .and_then(Status::to_possible_value)
    {
        filter.push_str(&format!("&status={}", status.get_name()));
    }
    let mut found = Vec::new();
    let mut before = String::new();
    while found.len() < limit {
        let size = PAGE_MAX.min(limit - found.len());
        let path = format!("/function/{function}/requests?limit={size}{filter}{before}");
        let answer = platform.get(&path).await?;
        let page: Page = answer.json(&format!("list the requests of function `{function}`"))?;
        for mut request in page.requests {
            request["function"] = function.into();
            found.push(request);
        }
        let Some(next) = page.next else { break };
        before = format!("&before={next}");
    }
    Ok(found)
}
