//! What a deployment did, would do, or came not to.

use serde::Serialize;
use serde_json::json;
use turlough_gateway::FunctionName;

use super::plan::Plan;
use super::present::Present;
use crate::exit::Failure;
use crate::platform::Platform;
use crate::put::Put;
use crate::terminal::Terminal;

/// All that was planned, in the order in which it is done.
#[derive(Debug)]
pub(super) struct Report {
    gateway: String,
    dry_run: bool,
    pub(super) functions: Vec<FunctionLine>,
    pub(super) flows: Vec<FlowLine>,
}

#[derive(Debug, Serialize)]
pub(super) struct FunctionLine {
    function: String,
    image: String,
    /// `create` or `change`, as planned; `created`, `changed` or `not deployed`, as done.
    pub(super) deploy: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum FlowLine {
    Planned {
        flow: String,
        function: String,
        put: &'static str,
    },
    Done(Put),
}

pub(super) const NOT_DEPLOYED: &str = "not deployed";
const NOT_PUT: &str = "not put";

impl Report {
    pub(super) fn new(
        platform: &Platform,
        plan: &Plan,
        present: &Present,
        taker: Option<&FunctionName>,
        dry_run: bool,
    ) -> Self {
        let functions = plan.functions.iter().map(|function| {
            let name = &function.spec.name;
            FunctionLine {
                function: name.to_string(),
                image: function.spec.image.clone(),
                deploy: match (dry_run, present.has(name)) {
                    (true, true) => "change",
                    (true, false) => "create",
                    (false, _) => NOT_DEPLOYED,
                },
            }
        });
        let flows = plan.flows.iter().map(|flow| FlowLine::Planned {
            flow: flow.flow.name().to_string(),
            function: flow
                .of
                .as_ref()
                .or(taker)
                .map(ToString::to_string)
                .unwrap_or_default(),
            put: if dry_run { "put" } else { NOT_PUT },
        });
        Self {
            gateway: platform.base().to_owned(),
            dry_run,
            functions: functions.collect(),
            flows: flows.collect(),
        }
    }

    /// As JSON all of it; as text the plan, or what was left where it failed: what was done has been told.
    pub(super) fn tell(&self, terminal: Terminal, failed: Option<&Failure>) -> Result<(), Failure> {
        if terminal.is_json() {
            return terminal.json(&json!({
                "gateway": self.gateway,
                "dry_run": self.dry_run,
                "functions": self.functions,
                "flows": self.flows,
                "error": failed.map(|failure| format!("{:#}", failure.cause)),
            }));
        }
        if self.dry_run {
            for line in &self.functions {
                let FunctionLine {
                    function,
                    image,
                    deploy,
                } = line;
                let image = if image.is_empty() { "no image" } else { image };
                terminal.line(&format!("{deploy} function {function}: {image}"))?;
            }
            for line in &self.flows {
                if let FlowLine::Planned { flow, function, .. } = line {
                    terminal.line(&format!("put flow {flow} to function {function}"))?;
                }
            }
            terminal.progress(&format!("nothing was changed at {}", self.gateway));
        }
        if failed.is_some() {
            let left = self.left();
            if !left.is_empty() {
                terminal.note(&format!("not deployed: {}", left.join(", ")));
                terminal.note("the same command again is safe, and does the rest");
            }
        }
        Ok(())
    }

    fn left(&self) -> Vec<String> {
        let functions = self.functions.iter();
        let functions = functions.filter(|line| line.deploy == NOT_DEPLOYED);
        let functions = functions.map(|line| format!("function {}", line.function));
        let flows = self.flows.iter().filter_map(|line| match line {
            FlowLine::Planned { flow, .. } => Some(format!("flow {flow}")),
            FlowLine::Done(_) => None,
        });
        functions.chain(flows).collect()
    }
}
