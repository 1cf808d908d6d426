//! `turlough deploy`: from a folder, or a git repository, to functions and flows at a gateway of OpenFaaS.
//!
//! Invariants: every file is read and checked, and the gateway is asked whether it has what is needed,
//! before anything is changed; what was changed and what was not is told, however it ends; the same command
//! again is safe, since each change says how things are to be. Deliberately absent: building images, which
//! faas-cli and docker do, and removing what a folder no longer has.

mod apply;
mod plan;
mod present;
mod report;
mod source;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use turlough_gateway::FunctionName;
use turlough_sdk::parse_duration;

use crate::amount;
use crate::document::Flaw;
use crate::exit::{Exit, Failure};
use crate::missing::{self, FLOWS_FUNCTION};
use crate::platform::Platform;
use crate::terminal::Terminal;
use apply::Applying;
use plan::Plan;
use present::Present;
use report::Report;
use source::Source;

#[derive(Debug, Args)]
#[command(
    after_help = "Of a folder, the functions of its stack.yaml are deployed, and then the flows in its folder `flows`
are put to a flow-function; those in the folder of a flow-function (`orders/flows`) to that one. A folder
without both is a folder of flows. Everything is checked before anything is sent. Images are not built: run
`faas-cli build` and `faas-cli push` before; a Turlough gateway on this machine runs the handlers as they lie there.

Examples:
  turlough deploy
  turlough deploy pipelines/orders --dry-run
  turlough deploy pipelines/orders --only orders --wait --timeout 5m
  turlough deploy https://git.example.org/pipelines.git#v1.2 --gateway http://gateway.example.org:8080
  turlough deploy --output json | jq -r '.flows[].version'"
)]
pub(crate) struct DeployArguments {
    /// Folder, or git repository (https, ssh, file) with `#` and a branch, a tag or a commit
    #[arg(default_value = ".", value_name = "FOLDER|URL")]
    source: String,

    /// Of this name only, a function or a flow; can be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Namespace of all functions [default: as the stack says]
    #[arg(long, short = 'n')]
    namespace: Option<String>,

    /// Flow-function that is to serve the flows in `flows` [default: `flows`, or the only one]
    #[arg(long, value_name = "FUNCTION", value_parser = FunctionName::parse)]
    function: Option<FunctionName>,

    /// Tells what would be done, and changes nothing
    #[arg(long)]
    dry_run: bool,

    /// Waits until each function has a replica
    #[arg(long)]
    wait: bool,

    /// How long to wait for functions, those that take flows included
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = parse_duration)]
    timeout: Duration,
}

pub(crate) async fn deploy(
    platform: impl FnOnce() -> Result<Platform, Failure>,
    terminal: Terminal,
    arguments: &DeployArguments,
) -> Result<Exit, Failure> {
    // Listened to from the start, so that nothing that was fetched is left behind.
    let mut interrupt = signal(SignalKind::interrupt())
        .context("cannot listen for signals")
        .map_err(Failure::platform)?;
    let source = Source::open(terminal, &arguments.source);
    let source = or_interrupted(&mut interrupt, NOTHING_CHANGED, source).await?;
    let mut plan = match Plan::read(source.folder(), arguments)? {
        Ok(plan) => plan,
        Err(flaws) => return refuse(terminal, &flaws),
    };
    for warning in plan.warnings() {
        terminal.note(&format!("warning: {warning}"));
    }
    let platform = platform()?;
    let present = Present::read(&platform, &plan);
    let present = or_interrupted(&mut interrupt, NOTHING_CHANGED, present).await?;
    settle(&mut plan, present.runs_here, source.stays());
    let taker = taker(&plan, &present, arguments, platform.base())?;
    for warning in functions_missing(&plan, &present) {
        terminal.note(&format!("warning: {warning}"));
    }
    let mut report = Report::new(
        &platform,
        &plan,
        &present,
        taker.as_ref(),
        arguments.dry_run,
    );
    if arguments.dry_run {
        report.tell(terminal, None)?;
        return Ok(Exit::Ok);
    }
    let mut applying = Applying::new(&platform, terminal, arguments, &plan, &present, taker);
    let applied = applying.run(&mut report);
    let ended = or_interrupted(&mut interrupt, ONE_UNKNOWN, applied).await;
    applying.finish();
    report.tell(terminal, ended.as_ref().err())?;
    ended.map(|()| Exit::Ok)
}

const NOTHING_CHANGED: &str = "interrupted; nothing was changed";
const ONE_UNKNOWN: &str = "interrupted; what was being sent just then may have been done";

async fn or_interrupted<T>(
    interrupt: &mut Signal,
    why: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Failure {
            exit: Exit::Interrupted,
            cause: anyhow!("{why}"),
        }),
    }
}

/// Says what a stack leaves unsaid: flow-functions know their own names, and one on this machine listens
/// there alone. Where the gateway runs commands on this machine, it runs those of a folder that stays.
fn settle(plan: &mut Plan, runs_here: bool, stays: bool) {
    for function in &mut plan.functions {
        let name = function.spec.name.clone();
        if plan.flow_functions.contains(&name) {
            let variables = &mut function.spec.env_vars;
            let mut default = |variable: &str, value: String| {
                variables.entry(variable.to_owned()).or_insert(value);
            };
            default("TURLOUGH_FUNCTION", name.to_string());
            if runs_here {
                default("TURLOUGH_LISTEN", "127.0.0.1".to_owned());
            }
        }
        if runs_here && stays {
            function.run_here();
        }
    }
}

fn refuse(terminal: Terminal, flaws: &[Flaw]) -> Result<Exit, Failure> {
    if terminal.is_json() {
        terminal.json(&json!({ "functions": [], "flows": [], "problems": flaws }))?;
    }
    for flaw in flaws {
        terminal.note(&flaw.to_string());
    }
    let problems = amount::count(flaws.len(), "problem");
    terminal.progress(&format!("nothing was deployed: {problems}"));
    Ok(Exit::BadInput)
}

/// The flow-function for the flows that lie in none's own folder: the one that is named; otherwise `flows`
/// or the only one, of the stack if it has any.
fn taker(
    plan: &Plan,
    present: &Present,
    arguments: &DeployArguments,
    gateway: &str,
) -> Result<Option<FunctionName>, Failure> {
    if let Some(flow) = plan.flows.iter().find_map(|flow| flow.of.as_ref()) {
        refuse_absent(plan, present, flow, gateway)?;
    }
    if plan.flows.iter().all(|flow| flow.of.is_some()) {
        return Ok(None);
    }
    let own: BTreeSet<_> = plan.flow_functions.iter().collect();
    let others: BTreeSet<_> = present.flow_functions().collect();
    let all: BTreeSet<_> = own.union(&others).copied().collect();
    let found = match &arguments.function {
        Some(wanted) => all.get(wanted).copied(),
        None => meant(&own).or_else(|| meant(&all)),
    };
    let Some(found) = found else {
        let names: Vec<_> = all.iter().map(ToString::to_string).collect();
        let wanted = arguments.function.as_ref().map(ToString::to_string);
        let text = format!(
            "no flow-function `{}` for the flows, neither in the stack nor at {gateway}; there is {}; name one \
             with --function, or deploy one (`faas-cli new --lang yaml-flow`)",
            wanted.as_deref().unwrap_or(FLOWS_FUNCTION),
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
        );
        return Err(Failure::input(anyhow!(text)));
    };
    refuse_absent(plan, present, found, gateway)?;
    Ok(Some(found.clone()))
}

fn meant<'a>(names: &BTreeSet<&'a FunctionName>) -> Option<&'a FunctionName> {
    let mut names = names.iter().copied();
    match names.len() {
        1 => names.next(),
        _ => names.find(|name| name.name() == FLOWS_FUNCTION),
    }
}

/// Who takes flows is deployed now, or is there already.
fn refuse_absent(
    plan: &Plan,
    present: &Present,
    function: &FunctionName,
    gateway: &str,
) -> Result<(), Failure> {
    let is_deployed = plan.functions.iter().any(|it| it.spec.name == *function);
    if is_deployed || present.has(function) {
        return Ok(());
    }
    Err(Failure::input(anyhow!(
        "function {function}, which is to take flows, is not at {gateway}, and --only leaves it out; add --only \
         {}",
        function.name()
    )))
}

/// Functions that flows apply and nobody has: no mistake by itself, since they may come later.
fn functions_missing(plan: &Plan, present: &Present) -> Vec<String> {
    let deployed = plan.functions.iter().map(|it| it.spec.name.clone());
    let known = deployed.chain(present.names().cloned()).collect();
    let flows = plan.flows.iter().map(|it| &it.flow);
    missing::warnings_of(
        &known,
        flows,
        "which neither this deployment nor the gateway has",
    )
}
