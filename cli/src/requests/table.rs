//! Requests and their steps as tables.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value as Json;

use crate::amount;
use crate::platform::{Held, ServedFlow};

/// How much of an error a list shows; the request itself shows all of it.
const ERROR_CHARS_MAX: usize = 60;

pub(super) fn requests(requests: &[Json]) -> String {
    let mut table = table(&[
        "ID", "FLOW", "FUNCTION", "STATUS", "ACCEPTED", "DURATION", "ERROR",
    ]);
    for request in requests {
        table.add_row([
            text(&request["id"]),
            text(&request["flow"]),
            text(&request["function"]),
            text(&request["status"]),
            amount::moment(&text(&request["accepted_at"])),
            duration(&request["duration_ms"]),
            shortened(&text(&request["error"])),
        ]);
    }
    align_right(&mut table, 5);
    rendered(&table)
}

pub(super) fn request(held: &Held) -> String {
    let request = &held.request;
    let mut about = format!(
        "request   {}\nflow      {} (version {}, function {})\nstatus    {}\naccepted  {}\n",
        text(&request["id"]),
        text(&request["flow"]),
        text(&request["version"]),
        held.function,
        text(&request["status"]),
        amount::moment(&text(&request["accepted_at"])),
    );
    if request["duration_ms"].is_number() {
        about.push_str(&format!(
            "duration  {}\n",
            duration(&request["duration_ms"])
        ));
    }
    if request["error"].is_string() {
        about.push_str(&format!("error     {}\n", text(&request["error"])));
    }
    about.push('\n');
    about + &steps(request["steps"].as_array().map_or(&[], Vec::as_slice))
}

pub(crate) fn flows(flows: &[ServedFlow]) -> String {
    let mut table = table(&["FLOW", "FUNCTION", "NODES", "VERSION"]);
    for flow in flows {
        table.add_row([
            &flow.flow,
            &flow.function,
            &flow.nodes.to_string(),
            &flow.version,
        ]);
    }
    align_right(&mut table, 2);
    rendered(&table)
}

fn steps(steps: &[Json]) -> String {
    let mut table = table(&["STEP", "STATUS", "ATTEMPT", "DURATION", "BYTES", "ERROR"]);
    for step in steps {
        let bytes = step["bytes"].as_u64().map(amount::bytes);
        table.add_row([
            text(&step["step"]),
            status(step),
            step["attempt"]
                .as_u64()
                .map_or_else(String::new, |attempt| attempt.to_string()),
            duration(&step["duration_ms"]),
            bytes.unwrap_or_default(),
            text(&step["error"]),
        ]);
    }
    for column in 2..=4 {
        align_right(&mut table, column);
    }
    rendered(&table)
}

/// With the count of items, of a `for_each`.
fn status(step: &Json) -> String {
    let status = text(&step["status"]).replace('_', " ");
    match (step["items_ended"].as_u64(), step["items"].as_u64()) {
        (Some(ended), Some(all)) => format!("{status} ({ended}/{all} items)"),
        _ => status,
    }
}

fn duration(ms: &Json) -> String {
    ms.as_f64().map(amount::duration).unwrap_or_default()
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(ERROR_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Without lines, so that columns can be cut out by tools.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn rendered(table: &Table) -> String {
    table.trim_fmt()
}
