//! `turlough pause`, `resume`, `cancel`, `restart` and `signal`: what is asked of a request.
//!
//! An answer means that it was recorded; what comes of it is seen by `turlough request` and `follow`.

use bytes::Bytes;
use clap::Args;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use turlough_sdk::{RequestId, SignalName};

use crate::exit::{Exit, Failure};
use crate::input::InputArguments;
use crate::platform::{Platform, encoded};
use crate::terminal::Terminal;

/// Which request, and under which key it is asked.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The request's id
    id: RequestId,

    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    /// Idempotency-Key: asked again with the same one, nothing more happens
    #[arg(long, value_name = "KEY", value_parser = header_value)]
    key: Option<HeaderValue>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Steps that run go on to their end; no other one starts before `turlough resume`.
The request's timeout goes on, and signals are taken.

Examples:
  turlough pause 01a2b3c4-0000-7000-8000-0123456789ab
  turlough requests --status sleeping --output json | jq -r '.requests[].id' | xargs -n1 turlough pause"
)]
pub(crate) struct PauseArguments {
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  turlough resume 01a2b3c4-0000-7000-8000-0123456789ab")]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What has `compensate` is undone, and `finally` runs, before it ends.

Example:
  turlough cancel 01a2b3c4-0000-7000-8000-0123456789ab"
)]
pub(crate) struct CancelArguments {
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A request that failed, timed out or was cancelled goes on under its id, from what failed: those steps,
what was compensated, and all that comes after them run again. It can be restarted while its data is
kept (TURLOUGH_KEEP_FAILED, 10 minutes where nothing is said).

Examples:
  turlough restart 01a2b3c4-0000-7000-8000-0123456789ab
  turlough restart 01a2b3c4-0000-7000-8000-0123456789ab --from 'months[3]/clean'
  turlough put flows/trip.yaml && turlough restart 01a2b3c4-0000-7000-8000-0123456789ab --current"
)]
pub(crate) struct RestartArguments {
    #[command(flatten)]
    asked: Asked,

    /// Runs this step again too, by its path
    #[arg(long, value_name = "STEP")]
    from: Option<String>,

    /// Goes on with the flow as it is now, not as it was when the request began
    #[arg(long)]
    current: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A signal that comes before anybody waits for it is kept; each is taken by one wait.

Examples:
  turlough signal 01a2b3c4-0000-7000-8000-0123456789ab decision --data '{\"approved\": true}'
  turlough signal 01a2b3c4-0000-7000-8000-0123456789ab photo --data @front.jpg --content-type image/jpeg
  report | turlough signal 01a2b3c4-0000-7000-8000-0123456789ab report --data @- --key report-7"
)]
pub(crate) struct SignalArguments {
    /// The request's id
    id: RequestId,

    /// The signal's name
    name: SignalName,

    #[command(flatten)]
    payload: InputArguments,

    #[command(flatten)]
    key: KeyArguments,
}

/// What is asked: how the API calls it, and what is said once it is recorded.
struct Ask<'a> {
    id: RequestId,
    verb: &'static str,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    told: &'a str,
}

impl KeyArguments {
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        if let Some(key) = &self.key {
            headers.insert("idempotency-key", key.clone());
        }
    }
}

impl Asked {
    fn ask<'a>(&self, verb: &'static str, query: &str, told: &'a str) -> Ask<'a> {
        let mut headers = HeaderMap::new();
        self.key.describe(&mut headers);
        Ask {
            id: self.id,
            verb,
            path: format!("{verb}{query}"),
            headers,
            body: Bytes::new(),
            told,
        }
    }
}

pub(crate) async fn pause(
    platform: &Platform,
    terminal: Terminal,
    arguments: &PauseArguments,
) -> Result<Exit, Failure> {
    let ask = arguments.asked.ask("pause", "", "starts no more steps");
    asked(platform, terminal, ask).await
}

pub(crate) async fn resume(
    platform: &Platform,
    terminal: Terminal,
    arguments: &ResumeArguments,
) -> Result<Exit, Failure> {
    let ask = arguments.asked.ask("resume", "", "goes on");
    asked(platform, terminal, ask).await
}

pub(crate) async fn cancel(
    platform: &Platform,
    terminal: Terminal,
    arguments: &CancelArguments,
) -> Result<Exit, Failure> {
    let ask = arguments.asked.ask("cancel", "", "is being cancelled");
    asked(platform, terminal, ask).await
}

pub(crate) async fn restart(
    platform: &Platform,
    terminal: Terminal,
    arguments: &RestartArguments,
) -> Result<Exit, Failure> {
    let mut query = Vec::new();
    if let Some(step) = &arguments.from {
        query.push(format!("from={}", encoded(step)));
    }
    if arguments.current {
        query.push("version=current".to_owned());
    }
    let query = match query.is_empty() {
        true => String::new(),
        false => format!("?{}", query.join("&")),
    };
    let ask = arguments
        .asked
        .ask("restart", &query, "goes on from what failed");
    asked(platform, terminal, ask).await
}

pub(crate) async fn signal(
    platform: &Platform,
    terminal: Terminal,
    arguments: &SignalArguments,
) -> Result<Exit, Failure> {
    let input = arguments.payload.read()?;
    let mut headers = HeaderMap::new();
    arguments.key.describe(&mut headers);
    input.describe(&mut headers);
    let told = format!("has the signal {}", arguments.name);
    let ask = Ask {
        id: arguments.id,
        verb: "signal",
        path: format!("signals/{}", encoded(arguments.name.as_str())),
        headers,
        body: input.body,
        told: &told,
    };
    asked(platform, terminal, ask).await
}

async fn asked(platform: &Platform, terminal: Terminal, ask: Ask<'_>) -> Result<Exit, Failure> {
    let (id, verb) = (ask.id, ask.verb);
    let held = platform.find_request(id).await?;
    let path = format!("/function/{}/requests/{id}/{}", held.function, ask.path);
    let answer = platform.post(&path, ask.headers, ask.body).await?;
    if !answer.status.is_success() {
        return Err(answer.refused(&format!("{verb} request {id}")));
    }
    if terminal.is_json() {
        terminal.json(&json!({ "request_id": id.to_string(), verb: "asked" }))?;
    } else {
        terminal.progress(&format!("request {id} {}", ask.told));
    }
    Ok(Exit::Ok)
}

/// A key as a header holds it.
fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| "it holds characters that no header may hold".to_owned())
}
