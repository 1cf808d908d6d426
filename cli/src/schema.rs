//! `turlough schema`: the shape of flows in YAML, for editors and other tools.

use crate::exit::{Exit, Failure};
use crate::terminal::Terminal;

pub(crate) fn schema(terminal: Terminal) -> Result<Exit, Failure> {
    terminal.json(&turlough_sdk::schema::flow_schema())?;
    Ok(Exit::Ok)
}
