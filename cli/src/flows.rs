//! `turlough flows`.

use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::platform::{Catalog, Platform};
use crate::requests;
use crate::terminal::Terminal;

pub(crate) async fn list(platform: &Platform, terminal: Terminal) -> Result<Exit, Failure> {
    let catalog = Catalog::read(platform).await?;
    for silent in &catalog.silent {
        terminal.note(&format!("flows are missing: {silent}"));
    }
    if terminal.is_json() {
        terminal.json(&json!({ "flows": catalog.flows }))?;
    } else if catalog.flows.is_empty() {
        terminal.progress(&format!("no flows at {}", platform.base()));
    } else {
        terminal.line(&requests::flows_table(&catalog.flows))?;
    }
    Ok(if catalog.silent.is_empty() {
        Exit::Ok
    } else {
        Exit::Platform
    })
}
