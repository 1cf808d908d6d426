//! `turlough run` and `follow`: start a request or find one, show how it gets on, print its result.
//!
//! The request is always started with `Prefer: respond-async`, so that its id is known before
//! anything can go wrong with the waiting; what happens to this process changes nothing in it.

mod inside;
mod progress;
mod report;
mod signing;

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use turlough_sdk::{RequestId, format_duration, parse_duration};

use crate::control::KeyArguments;
use crate::exit::{Exit, Failure};
use crate::input::{Input, InputArguments};
use crate::platform::{Catalog, Ended, FlowRef, Follower, Platform, ServedFlow};
use crate::terminal::Terminal;
use progress::Progress;
pub(crate) use report::{as_json, exit_of};
use signing::SigningArguments;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough run fizz-buzz --data '{\"n\": 15}'
  turlough run flights --data @job.json --timeout 5m
  generate | turlough run etl/load --data @- --content-type text/csv
  id=$(turlough run fizz-buzz --data '{\"n\": 7}' --async)
  turlough run fizz-buzz --data '{\"n\": 7}' --output json | jq .result
  turlough run load --data @day.json --key load-2026-05-01
  turlough run load --data @day.json --async --callback-url https://example.org/loaded
  turlough run pay --data '{\"sum\": 3}' --sign-key billing.key --sign-as billing")]
pub(crate) struct RunArguments {
    /// Flow to run; FUNCTION/FLOW where several functions serve one of that name
    flow: FlowRef,

    #[command(flatten)]
    input: InputArguments,

    #[command(flatten)]
    key: KeyArguments,

    #[command(flatten)]
    signing: SigningArguments,

    /// Is told of the end, by a POST of the result or of the problem
    #[arg(long, value_name = "URL")]
    callback_url: Option<Url>,

    /// Prints the request's id and does not wait
    #[arg(long = "async", conflicts_with = "timeout")]
    detached: bool,

    /// How long to wait; the request goes on after it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Of a request that has ended it tells all, and prints the result.

Examples:
  turlough follow 01a2b3c4-0000-7000-8000-0123456789ab
  turlough restart 01a2b3c4-0000-7000-8000-0123456789ab && turlough follow 01a2b3c4-0000-7000-8000-0123456789ab
  turlough follow 01a2b3c4-0000-7000-8000-0123456789ab --timeout 1m --output json | jq .status"
)]
pub(crate) struct FollowArguments {
    /// The request's id
    id: RequestId,

    /// How long to wait; the request goes on after it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// A request that is there.
#[derive(Debug)]
struct Run<'a> {
    platform: &'a Platform,
    terminal: Terminal,
    flow: &'a str,
    function: &'a str,
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
    let input = arguments.input.read()?;
    let catalog = Catalog::read(platform).await?;
    let flow = catalog.find(&arguments.flow)?;
    // Listened to from before there is a request, so that there is no moment in which Ctrl-C leaves
    // one without a word.
    let mut interrupt = interrupts()?;
    let request = tokio::select! {
        request = start(platform, flow, input, arguments) => request?,
        _ = interrupt.recv() => {
            terminal.note("interrupted; the request may have been started, see `turlough requests`");
            return Ok(Exit::Interrupted);
        }
    };
    let run = Run {
        platform,
        terminal,
        flow: &flow.flow,
        function: &flow.function,
        request,
    };
    if arguments.detached {
        return run.tell_started();
    }
    run.to_its_end(arguments.timeout, &mut interrupt).await
}

pub(crate) async fn follow(
    platform: &Platform,
    terminal: Terminal,
    arguments: &FollowArguments,
) -> Result<Exit, Failure> {
    let mut interrupt = interrupts()?;
    let held = platform.find_request(arguments.id).await?;
    let run = Run {
        platform,
        terminal,
        flow: held.request["flow"].as_str().unwrap_or_default(),
        function: &held.function,
        request: arguments.id.to_string(),
    };
    run.to_its_end(arguments.timeout, &mut interrupt).await
}

fn interrupts() -> Result<Signal, Failure> {
    let listening = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C");
    listening.map_err(Failure::platform)
}

async fn start(
    platform: &Platform,
    flow: &ServedFlow,
    input: Input,
    arguments: &RunArguments,
) -> Result<String, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert("prefer", HeaderValue::from_static("respond-async"));
    input.describe(&mut headers);
    arguments.key.describe(&mut headers);
    if let Some(url) = &arguments.callback_url {
        let url = HeaderValue::from_str(url.as_str()).context("--callback-url cannot be sent");
        headers.insert("x-turlough-callback-url", url.map_err(Failure::input)?);
    }
    let path = format!("/function/{}/{}", flow.function, flow.flow);
    arguments.signing.sign(&path, &input.body, &mut headers)?;
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
    async fn to_its_end(
        &self,
        limit: Option<Duration>,
        interrupt: &mut Signal,
    ) -> Result<Exit, Failure> {
        let request = &self.request;
        match self.wait(limit, interrupt).await? {
            Waited::Ended(ended) => report::report(self, &ended).await,
            Waited::TooLong => {
                let limit = format_duration(limit.unwrap_or_default());
                self.leave(&format!("request {request} has not ended in {limit}"));
                Ok(Exit::NotDone)
            }
            Waited::Interrupted => {
                self.leave(&format!("interrupted; request {request} goes on"));
                Ok(Exit::Interrupted)
            }
        }
    }

    fn tell_started(&self) -> Result<Exit, Failure> {
        if self.terminal.is_json() {
            self.terminal.json(&json!({
                "request_id": self.request,
                "flow": self.flow,
                "function": self.function,
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
        let mut progress =
            Progress::new(self.terminal, self.platform, self.function, self.flow).await;
        progress.started(&self.request);
        let follower = Follower::new(self.platform, self.function, &self.request);
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
            "see it:    turlough request {request}\nfollow it: turlough follow {request}\n\
             cancel it: turlough cancel {request}",
            request = self.request
        )
    }
}
