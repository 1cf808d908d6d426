//! `turlough requests` and `request`: what runs and what ran, over all flow-functions.

mod table;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use turlough_sdk::{FlowName, RequestId};

use crate::exit::{Exit, Failure};
use crate::platform::{Held, Platform, encoded};
use crate::run::{as_json, exit_of};
use crate::terminal::Terminal;
pub(crate) use table::flows as flows_table;

/// The largest page that a flow-function gives.
const PAGE_MAX: usize = 1_000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough requests
  turlough requests --flow fizz-buzz --status failed --limit 20
  turlough requests --parent 01a2b3c4-0000-7000-8000-0123456789ab
  turlough requests --status running --output json | jq -r '.requests[].id'")]
pub(crate) struct ListArguments {
    /// Of this flow only
    #[arg(long)]
    flow: Option<FlowName>,

    /// With this status only
    #[arg(long, value_enum)]
    status: Option<Status>,

    /// Sub-flows of this request only
    #[arg(long, value_name = "ID")]
    parent: Option<RequestId>,

    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Running,
    Sleeping,
    Paused,
    Unwinding,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --result > result.json
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --output json | jq .status
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --step 'months[3]/clean' > march.json
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --step load --input | jq .
  turlough request 01a2b3c4-0000-7000-8000-0123456789ab --at 12

`turlough events` shows the places in the log that --at takes.")]
pub(crate) struct ShowArguments {
    /// The request's id
    id: RequestId,

    /// Prints its result as it is; the exit code says how it ended
    #[arg(long, conflicts_with_all = ["step", "at"])]
    result: bool,

    /// Prints what this step gave, as it is, while its data is held
    #[arg(long, value_name = "PATH", conflicts_with = "at")]
    step: Option<String>,

    /// Prints what the step was given
    #[arg(long, requires = "step")]
    input: bool,

    /// Shows it as it stood at this place in its log
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
}

/// Merges what the functions say, by the time at which each request was accepted: ids that come from a
/// key do not sort by it.
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
    requests.sort_by(|a, b| b["accepted_at"].as_str().cmp(&a["accepted_at"].as_str()));
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
    if let Some(step) = &arguments.step {
        return step_value(platform, terminal, (arguments, step), &held).await;
    }
    if let Some(seq) = arguments.at {
        let (id, function) = (arguments.id, &held.function);
        let path = format!("/function/{function}/requests/{id}/events?at={seq}");
        let answer = platform.get(&path).await?;
        held.request = answer.json(&format!("read request {id} at {seq}"))?;
    }
    if terminal.is_json() {
        held.request["function"] = held.function.into();
        terminal.json(&held.request)?;
    } else {
        terminal.line(&table::request(&held))?;
    }
    Ok(Exit::Ok)
}

/// What a step was given, or gave.
async fn step_value(
    platform: &Platform,
    terminal: Terminal,
    (arguments, step): (&ShowArguments, &str),
    held: &Held,
) -> Result<Exit, Failure> {
    let (id, which) = match arguments.input {
        true => (arguments.id, "input"),
        false => (arguments.id, "output"),
    };
    let (function, path) = (&held.function, encoded(step));
    let path = format!("/function/{function}/requests/{id}/steps/{path}/{which}");
    let answer = platform.get(&path).await?;
    if !answer.status.is_success() {
        return Err(answer.refused(&format!("read the {which} of step {step} of request {id}")));
    }
    if terminal.is_json() {
        let value = as_json(&answer);
        terminal.json(&json!({ "request_id": id.to_string(), "step": step, which: value }))?;
    } else {
        terminal.raw(&answer.body)?;
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
    if let Some(parent) = arguments.parent {
        filter.push_str(&format!("&parent={parent}"));
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
