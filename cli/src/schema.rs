//! `turlough schema`: the shape of flows in YAML, for editors and other tools.

use anyhow::Context;

use crate::exit::{Exit, Failure};
use crate::terminal::Terminal;

pub(crate) fn schema(terminal: Terminal) -> Result<Exit, Failure> {
    let schema = turlough_sdk::schema::flow_schema();
    if terminal.is_json() {
        terminal.json(&schema)?;
    } else {
        let text = serde_json::to_string_pretty(&schema).context("cannot write the schema");
        terminal.line(&text.map_err(Failure::platform)?)?;
    }
    Ok(Exit::Ok)
}
