//! `turlough graph`: a flow as a picture, from a file or from the function that serves it.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use turlough_sdk::{Flow, picture};

use crate::document;
use crate::exit::{Exit, Failure};
use crate::platform::{Catalog, FlowRef, Platform};
use crate::terminal::Terminal;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough graph fizz-buzz
  turlough graph fizz-buzz --format dot | dot -Tsvg > fizz-buzz.svg
  turlough graph --file flows/fizz-buzz.yaml --format mermaid")]
pub(crate) struct GraphArguments {
    /// Flow to draw; FUNCTION/FLOW where several functions serve one of that name
    #[arg(required_unless_present = "file")]
    flow: Option<FlowRef>,

    /// What to draw it in; json with --output json
    #[arg(long, value_enum)]
    format: Option<Language>,

    /// Reads the flow from this file, without a platform
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Mermaid,
    /// Graphviz
    Dot,
    Json,
}

pub(crate) async fn graph(
    platform: impl FnOnce() -> Result<Platform, Failure>,
    terminal: Terminal,
    arguments: &GraphArguments,
) -> Result<Exit, Failure> {
    let language = match arguments.format {
        Some(language) => language,
        None if terminal.is_json() => Language::Json,
        None => Language::Mermaid,
    };
    let text = match (&arguments.file, &arguments.flow) {
        (Some(file), flow) => {
            let read = document::read_flow(file)?;
            if let Some(wanted) = flow
                && wanted.flow != *read.name()
            {
                let text = format!(
                    "`{}` holds flow `{}`, not `{}`",
                    file.display(),
                    read.name(),
                    wanted.flow
                );
                return Err(Failure::input(anyhow!(text)));
            }
            drawn(&read, language)
        }
        (None, Some(wanted)) => served(&platform()?, wanted, language).await?,
        (None, None) => return Err(Failure::input(anyhow!("name a flow, or a --file"))),
    };
    terminal.line(text.trim_end())?;
    Ok(Exit::Ok)
}

fn drawn(flow: &Flow, language: Language) -> String {
    match language {
        Language::Mermaid => picture::mermaid(flow),
        Language::Dot => picture::dot(flow),
        Language::Json => picture::flow_json(flow).to_string(),
    }
}

async fn served(
    platform: &Platform,
    wanted: &FlowRef,
    language: Language,
) -> Result<String, Failure> {
    let catalog = Catalog::read(platform).await?;
    let flow = catalog.find(wanted)?;
    let format = language.to_possible_value();
    let format = format.as_ref().map_or("json", |value| value.get_name());
    let path = format!(
        "/function/{}/flows/{}?format={format}",
        flow.function, flow.flow
    );
    let answer = platform.get(&path).await?;
    if !answer.status.is_success() {
        return Err(answer.refused(&format!("read flow `{}`", flow.flow)));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}
