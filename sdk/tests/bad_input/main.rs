//! What an author is told about a flow that cannot be: the whole message, by YAML and by builder.

mod attributes;
mod graphs;
mod notation;
mod operations;
mod structure;

use turlough_sdk::{FlowBuilder, StepError, read_yaml_file_text};

/// Reads `text` without its indentation, and compares all that is told.
#[track_caller]
fn refused(text: &str, told: &str) {
    let error = read_yaml_file_text("f.yaml", text).expect_err("the flow should be refused");
    assert_eq!(error.to_string(), told);
}

/// The same for a flow of one node, on line 3.
#[track_caller]
fn refused_node(node: &str, told: &str) {
    let text = format!("flow: f\nnodes:\n  a: {node}\n");
    refused(&text, &format!("f.yaml:3: flow f: node a: {told}"));
}

#[track_caller]
fn refused_build(flow: FlowBuilder, told: &str) {
    let error = flow.build().expect_err("the flow should be refused");
    assert_eq!(error.to_string(), told);
}

#[allow(clippy::unnecessary_wraps, reason = "a closure's shape")]
fn same(n: u32) -> Result<u32, StepError> {
    Ok(n)
}

const UNITS: &str = "write a number and a unit (us, ms, s, m, h, d), such as 500ms, 30s or 1h30m";
