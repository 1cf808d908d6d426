//! `turlough run`: starts a request, shows how it gets on, and prints its result.
//!
//! The request is always started with `Prefer: respond-async`, so that its id is known before
//! anything can go wrong with the waiting; what happens to this process changes nothing in it.

mod input;
mod progress;
mod report;

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use turlough_sdk::parse_duration;

use crate::exit::{Exit, Failure};
use crate::platform::{Catalog, Ended, FlowRef, Follower, Platform, ServedFlow};
use crate::terminal::Terminal;
use input::Input;
use progress::Progress;
pub(crate) use report::{as_json, exit_of};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough run fizz-buzz --data '{\"n\": 15}'
  turlough run flights --data @job.json --timeout 5m
  generate | turlough run etl/load --data @- --content-type text/csv
  id=$(turlough run fizz-buzz --data '{\"n\": 7}' --async)
  turlough run fizz-buzz --data '{\"n\": 7}' --output json | jq .result")]
pub(crate) struct RunArguments {
    /// Flow to run; FUNCTION/FLOW where several functions serve one of that name
    flow: FlowRef,

    /// Input: JSON, or @FILE, or @- for stdin; empty where it is left out
    #[arg(long, short, value_name = "JSON|@FILE|@-")]
    data: Option<String>,

    /// What the input is; JSON where it reads as JSON
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Prints the request's id and does not wait
    #[arg(long = "async", conflicts_with = "timeout")]
    detached: bool,

    /// How long to wait; the request goes on after it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// A request that was started.
#[derive(Debug)]
struct Run<'a> {
    platform: &'a Platform,
    terminal: Terminal,
    flow: &'a ServedFlow,
    request: String,
}

/// What ended a wait.
enum Waited {
    Ended(Ended),
    TooLong,
    Interrupted,
}

pub(crate) async fn run(
    platform: &Platform,
    terminal: Terminal,
    arguments: &RunArguments,
) -> Result<Exit, Failure> {
    let input = Input::read(arguments.data.as_deref(), arguments.content_type.as_deref())?;
    let catalog = Catalog::read(platform).await?;
    let flow = catalog.find(&arguments.flow)?;
    // Listened to from before there is a request, so that there is no moment in which Ctrl-C leaves
    // one without a word.
    let listening = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C");
    let mut interrupt = listening.map_err(Failure::platform)?;
    let request = tokio::select! {
        request = start(platform, flow, input) => request?,
        _ = interrupt.recv() => {
            terminal.note("interrupted; the request may have been started, see `turlough requests`");
            return Ok(Exit::Interrupted);
        }
    };
    let run = Run {
        platform,
        terminal,
        flow,
        request,
    };
    if arguments.detached {
        return run.tell_started();
    }
    match run.wait(arguments.timeout, &mut interrupt).await? {
        Waited::Ended(ended) => report::report(&run, &ended).await,
        Waited::TooLong => {
            let limit = arguments.timeout.unwrap_or_default();
            run.leave(&format!(
                "request {} has not ended in {limit:?}",
                run.request
            ));
            Ok(Exit::NotDone)
        }
        Waited::Interrupted => {
            run.leave(&format!("interrupted; request {} goes on", run.request));
            Ok(Exit::Interrupted)
        }
    }
}

async fn start(platform: &Platform, flow: &ServedFlow, input: Input) -> Result<String, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert("prefer", HeaderValue::from_static("respond-async"));
    if let Some(media) = input.content_type {
        headers.insert(CONTENT_TYPE, media);
    }
    let path = format!("/function/{}/{}", flow.function, flow.flow);
    let answer = platform.post(&path, headers, input.body).await?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(answer.refused(&format!("start flow `{}`", flow.flow)));
    }
    let id = answer.header("x-turlough-request-id").map(str::to_owned);
    id.ok_or_else(|| {
        let text = format!(
            "function `{}` accepted the request without an id; is it a flow-function?",
            flow.function
        );
        Failure::platform(anyhow!(text))
    })
}

impl Run<'_> {
    fn tell_started(&self) -> Result<Exit, Failure> {
        if self.terminal.is_json() {
            self.terminal.json(&json!({
                "request_id": self.request,
                "flow": self.flow.flow,
                "function": self.flow.function,
                "status": "running",
            }))?;
        } else {
            self.terminal.line(&self.request)?;
            self.terminal.progress(&self.how_to_look());
        }
        Ok(Exit::Ok)
    }

    async fn wait(
        &self,
        limit: Option<Duration>,
        interrupt: &mut Signal,
    ) -> Result<Waited, Failure> {
        let mut progress = Progress::new(self.terminal, self.platform, self.flow).await;
        progress.started(&self.request);
        let follower = Follower::new(self.platform, &self.flow.function, &self.request);
        let too_long = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let waited = tokio::select! {
            ended = follower.until_ended(|happening| progress.tell(&happening)) => {
                ended.map(Waited::Ended)
            }
            () = too_long => Ok(Waited::TooLong),
            _ = interrupt.recv() => Ok(Waited::Interrupted),
        };
        progress.finish();
        waited
    }

    /// Stops waiting for a request that goes on.
    fn leave(&self, why: &str) {
        self.terminal.note(why);
        self.terminal.note(&self.how_to_look());
    }

    fn how_to_look(&self) -> String {
        format!(
            "see it:    turlough request {}\ncancel it: turlough cancel {}",
            self.request, self.request
        )
    }
}
