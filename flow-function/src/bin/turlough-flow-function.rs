//! A flow-function that serves a folder of YAML flows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use turlough_flow_function::{Settings, load_folder, main_with, run_evaluator_if_asked};

/// Serves the YAML flows of a folder as one OpenFaaS function
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  turlough-flow-function --flows ./flows --port 8080\n  \
                  port=8081 TURLOUGH_GATEWAY_URL=http://gateway:8080 turlough-flow-function --flows ./flows"
)]
struct Arguments {
    /// Folder with `*.yml` and `*.yaml` flows, or one such file
    #[arg(long, env = "TURLOUGH_FLOWS", default_value = "flows")]
    flows: PathBuf,

    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    run_evaluator_if_asked();
    let Arguments { flows, settings } = Arguments::parse();
    main_with(settings, load_folder(&flows))
}
