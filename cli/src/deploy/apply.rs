//! The changes, one after the other: functions first, then their flows.
//!
//! Invariant: a flow is put to a replica that stays. Where a function's processes are replaced, the ones
//! that go may still answer; those of flow-functions say who they are.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};
use turlough_gateway::{DeployableFunction, FunctionName};
use turlough_sdk::format_duration;

use super::DeployArguments;
use super::plan::{Plan, PlannedFlow};
use super::present::Present;
use super::report::{FlowLine, Report};
use crate::exit::{Exit, Failure};
use crate::platform::{Answer, Platform};
use crate::put;
use crate::terminal::Terminal;

/// Between two looks at a function that is not ready yet.
const POLL: Duration = Duration::from_millis(200);

/// How long others are waited for where a deployment should replace the replicas of a function: far longer
/// than a process takes to start. A gateway that replaces none has them all stay.
const REPLACED_WITHIN: Duration = Duration::from_secs(30);

/// The label of functions that have no replica until they are called.
const MAY_SLEEP: &str = "com.openfaas.scale.zero";

const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Applying<'a> {
    platform: &'a Platform,
    terminal: Terminal,
    arguments: &'a DeployArguments,
    plan: &'a Plan,
    present: &'a Present,
    /// Who takes the flows that are in no function's own folder.
    taker: Option<FunctionName>,
    /// Replicas that are to go, by function.
    going: HashMap<FunctionName, String>,
    bar: Option<ProgressBar>,
}

impl<'a> Applying<'a> {
    pub(super) fn new(
        platform: &'a Platform,
        terminal: Terminal,
        arguments: &'a DeployArguments,
        plan: &'a Plan,
        present: &'a Present,
        taker: Option<FunctionName>,
    ) -> Self {
        let bar = terminal.draws().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            platform,
            terminal,
            arguments,
            plan,
            present,
            taker,
            going: HashMap::new(),
            bar,
        }
    }

    /// Does all of it, and writes into the report what was done.
    pub(super) async fn run(&mut self, report: &mut Report) -> Result<(), Failure> {
        let (plan, taker) = (self.plan, self.taker.clone());
        for (function, line) in plan.functions.iter().zip(&mut report.functions) {
            line.deploy = self.deploy(function).await?;
            let name = &function.spec.name;
            self.line(&format!("function {name} {}", line.deploy))?;
        }
        let deadline = Instant::now() + self.arguments.timeout;
        if self.arguments.wait {
            for function in &plan.functions {
                self.until_ready(&function.spec.name, deadline).await?;
            }
        }
        let mut serving = Vec::new();
        for (flow, line) in plan.flows.iter().zip(&mut report.flows) {
            let Some(function) = flow.of.as_ref().or(taker.as_ref()) else {
                continue;
            };
            if !serving.contains(&function) {
                self.until_serving(function, deadline).await?;
                serving.push(function);
            }
            let put = self.put(function, flow, deadline).await?;
            self.line(&format!("flow {put}"))?;
            *line = FlowLine::Done(put);
        }
        Ok(())
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Changes a function, or creates it where there is none, as faas-cli does.
    async fn deploy(&mut self, function: &DeployableFunction) -> Result<&'static str, Failure> {
        let name = &function.spec.name;
        self.doing(&format!("deploying function {name}"));
        let deployment = function.deployment();
        if self.takes_flows(name) && self.present.replaces(name, &deployment) {
            let replica = self.replica(name).await?;
            self.going.extend(replica.map(|it| (name.clone(), it)));
        }
        let body = serde_json::to_vec(&deployment)
            .context("cannot write a deployment as JSON")
            .map_err(Failure::platform)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let path = "/system/functions";
        let changed = self
            .platform
            .put(path, headers.clone(), body.clone().into());
        let changed = changed.await?;
        let (answer, word) = match changed.status {
            StatusCode::NOT_FOUND => {
                let created = self.platform.post(path, headers, body.into()).await?;
                (created, "created")
            }
            _ => (changed, "changed"),
        };
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => Ok(word),
            _ => Err(answer.refused(&format!("deploy function {name}"))),
        }
    }

    fn takes_flows(&self, function: &FunctionName) -> bool {
        let mut takers = self
            .plan
            .flows
            .iter()
            .map(|flow| flow.of.as_ref().or(self.taker.as_ref()));
        takers.any(|taker| taker == Some(function))
    }

    /// Which replica answers now, of those that say so.
    async fn replica(&self, function: &FunctionName) -> Result<Option<String>, Failure> {
        let answer = self.flows_of(function).await?;
        Ok(replica_of(&answer))
    }

    async fn flows_of(&self, function: &FunctionName) -> Result<Answer, Failure> {
        self.platform
            .get(&format!("/function/{function}/flows"))
            .await
    }

    /// Waits until the gateway counts a replica, unless it starts one with the next call.
    async fn until_ready(&self, function: &FunctionName, deadline: Instant) -> Result<(), Failure> {
        self.doing(&format!("waiting for function {function}"));
        let (name, namespace) = (function.name(), function.namespace());
        let path = format!("/system/function/{name}?namespace={namespace}");
        loop {
            let answer = self.platform.get(&path).await?;
            // One that was created just now may not be listed yet.
            if answer.status != StatusCode::NOT_FOUND {
                let status: Json = answer.json(&format!("look at function {function}"))?;
                let count = |field: &str| status[field].as_u64().unwrap_or(0);
                let sleeps = status["labels"][MAY_SLEEP] == "true" && count("replicas") == 0;
                if sleeps || count("availableReplicas") > 0 {
                    return Ok(());
                }
            }
            self.again(function, deadline, "it has no replica that answers")
                .await?;
        }
    }

    /// Waits until a flow-function lists its flows; where it is replaced, until one of the new ones does.
    async fn until_serving(
        &self,
        function: &FunctionName,
        deadline: Instant,
    ) -> Result<(), Failure> {
        self.doing(&format!("waiting for function {function} to serve flows"));
        let replaced = Instant::now() + REPLACED_WITHIN;
        loop {
            let answer = self.flows_of(function).await?;
            let is_going = || {
                let going = self.going.get(function);
                going.is_some() && replica_of(&answer).as_ref() == going
            };
            match answer.status {
                StatusCode::OK if !is_going() || Instant::now() > replaced => return Ok(()),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(answer.refused(&format!("list the flows of function {function}")));
                }
                _ => {}
            }
            let why = format!(
                "it answered {} last: {}",
                answer.status.as_u16(),
                answer.problem()
            );
            self.again(function, deadline, &why).await?;
        }
    }

    async fn put(
        &self,
        function: &FunctionName,
        planned: &PlannedFlow,
        deadline: Instant,
    ) -> Result<put::Put, Failure> {
        let flow = put::Read {
            file: &planned.file,
            name: planned.flow.name().clone(),
            text: planned.text.clone(),
        };
        self.doing(&format!(
            "putting flow {} to function {function}",
            flow.name
        ));
        let replaced = Instant::now() + REPLACED_WITHIN;
        loop {
            let put = put::send(self.platform, &function.to_string(), &flow).await?;
            let put = put.map_err(|flaws| {
                let lines: Vec<_> = flaws.iter().map(ToString::to_string).collect();
                let text = format!("function {function} refuses a flow:\n{}", lines.join("\n"));
                Failure::input(anyhow!(text))
            })?;
            let going = self.going.get(function);
            if going.is_none() || put.replica.as_ref() != going || Instant::now() > replaced {
                return Ok(put);
            }
            self.again(function, deadline, "only a replica that goes takes flows")
                .await?;
        }
    }

    async fn again(
        &self,
        function: &FunctionName,
        deadline: Instant,
        why: &str,
    ) -> Result<(), Failure> {
        if Instant::now() < deadline {
            sleep(POLL).await;
            return Ok(());
        }
        let limit = format_duration(self.arguments.timeout);
        let cause = anyhow!(
            "function {function} is not ready after {limit}: {why}; look at `faas-cli logs {}`, or raise \
             --timeout",
            function.name()
        );
        let exit = Exit::NotDone;
        Err(Failure { exit, cause })
    }

    fn doing(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// A result, as soon as it is there; as JSON all of them come at the end.
    fn line(&self, text: &str) -> Result<(), Failure> {
        let write = || match self.terminal.is_json() {
            true => Ok(()),
            false => self.terminal.line(text),
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn replica_of(answer: &Answer) -> Option<String> {
    let told: Json = serde_json::from_slice(&answer.body).ok()?;
    told["replica"].as_str().map(str::to_owned)
}
