//! `turlough put`: flows from files to a flow-function that runs.
//!
//! Every file is read and checked before anything is sent, so that a mistake in one changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Value as Json, json};
use turlough_sdk::{Flow, FlowName, FunctionName};

use crate::amount;
use crate::document::{self, Flaw};
use crate::exit::{Exit, Failure};
use crate::missing::FLOWS_FUNCTION;
use crate::platform::{Answer, Platform};
use crate::terminal::Terminal;

#[derive(Debug, Args)]
#[command(
    after_help = "New requests run on what was put from then on; those that are open keep their version. It lasts as
long as the flow-function's process.

Examples:
  turlough put flows/trip.yaml
  turlough put flows/*.yaml --function flows
  turlough put flows/trip.yaml --output json | jq -r '.flows[].version'"
)]
pub(crate) struct PutArguments {
    /// Flows in YAML
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Flow-function that is to serve them [default: `flows`, or the only one]
    #[arg(long, value_name = "FUNCTION")]
    function: Option<FunctionName>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Put {
    flow: String,
    function: String,
    version: String,
    /// `created`, `replaced` or `unchanged`.
    put: String,
    /// Which replica took it, where it says so.
    #[serde(skip)]
    pub(crate) replica: Option<String>,
}

/// A flow that is to be put.
pub(crate) struct Read<'a> {
    pub(crate) file: &'a Path,
    pub(crate) name: FlowName,
    pub(crate) text: String,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flow,
            function,
            version,
            put,
            ..
        } = self;
        write!(f, "{flow} {put}: version {version}, function {function}")
    }
}

pub(crate) async fn put(
    platform: &Platform,
    terminal: Terminal,
    arguments: &PutArguments,
) -> Result<Exit, Failure> {
    let mut flaws = Vec::new();
    let mut flows = Vec::new();
    for file in &arguments.files {
        match read(file) {
            Ok(flow) => flows.push(flow),
            Err(found) => flaws.extend(found),
        }
    }
    let mut done = Vec::new();
    if flaws.is_empty() {
        let function = function(platform, arguments.function.as_ref()).await?;
        for flow in &flows {
            match send(platform, &function, flow).await? {
                Ok(one) => done.push(one),
                Err(found) => flaws.extend(found),
            }
        }
    }
    tell(terminal, &done, &flaws)
}

fn read(file: &Path) -> Result<Read<'_>, Vec<Flaw>> {
    let text = document::read_text(file).map_err(|flaw| vec![flaw])?;
    let flow: Flow = document::parse_flow(file, &text)?;
    let name = flow.name().clone();
    Ok(Read { file, name, text })
}

/// The flow-function that is meant.
async fn function(platform: &Platform, wanted: Option<&FunctionName>) -> Result<String, Failure> {
    let known = platform.flow_functions().await?;
    let wanted = wanted.map(ToString::to_string);
    let found = match (&wanted, &known[..]) {
        (Some(wanted), _) => known.iter().find(|name| *name == wanted),
        (None, [only]) => Some(only),
        (None, _) => known.iter().find(|name| *name == FLOWS_FUNCTION),
    };
    found.cloned().ok_or_else(|| {
        let names = match known.is_empty() {
            true => "none".to_owned(),
            false => known.join(", "),
        };
        let (base, wanted) = (platform.base(), wanted.as_deref().unwrap_or(FLOWS_FUNCTION));
        let text = format!(
            "no flow-function `{wanted}` at {base}; there is {names}; name one with --function"
        );
        Failure::input(anyhow!(text))
    })
}

/// What a function that runs makes of a flow.
pub(crate) async fn send(
    platform: &Platform,
    function: &str,
    flow: &Read<'_>,
) -> Result<Result<Put, Vec<Flaw>>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    let path = format!("/function/{function}/flows/{}", flow.name);
    let answer = platform
        .put(&path, headers, flow.text.clone().into())
        .await?;
    if let Some(flaws) = flaws(flow, &answer) {
        return Ok(Err(flaws));
    }
    let told: Json = answer.json(&format!("put flow `{}`", flow.name))?;
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    Ok(Ok(Put {
        flow: flow.name.to_string(),
        function: function.to_owned(),
        version: text("version"),
        put: text("put"),
        replica: told["replica"].as_str().map(str::to_owned),
    }))
}

/// What a function finds wrong with a flow, though this program does not: it may be of another
/// version.
fn flaws(flow: &Read<'_>, answer: &Answer) -> Option<Vec<Flaw>> {
    if !answer.status.is_client_error() {
        return None;
    }
    let told: Json = serde_json::from_slice(&answer.body).ok()?;
    let problems = told["problems"].as_array()?;
    let flaw = |problem: &Json| Flaw {
        file: flow.file.display().to_string(),
        line: problem["line"].as_u64(),
        flow: Some(flow.name.to_string()),
        node: problem["node"].as_str().map(str::to_owned),
        message: problem["message"].as_str().unwrap_or_default().to_owned(),
    };
    Some(problems.iter().map(flaw).collect())
}

fn tell(terminal: Terminal, done: &[Put], flaws: &[Flaw]) -> Result<Exit, Failure> {
    if terminal.is_json() {
        terminal.json(&json!({ "flows": done, "problems": flaws }))?;
    } else {
        for one in done {
            terminal.line(&one.to_string())?;
        }
        for flaw in flaws {
            terminal.note(&flaw.to_string());
        }
    }
    if flaws.is_empty() {
        return Ok(Exit::Ok);
    }
    let problems = amount::count(flaws.len(), "problem");
    terminal.progress(&match done.len() {
        0 => format!("nothing was put: {problems}"),
        flows => format!("{} put: {problems}", amount::count(flows, "flow")),
    });
    Ok(Exit::BadInput)
}
