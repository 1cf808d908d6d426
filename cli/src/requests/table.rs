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
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            about.push_str(&format!("{name:<10}{value}\n"));
        }
    };
    let generation = request["generation"]
        .as_u64()
        .filter(|generation| *generation > 0);
    line(
        "restarts",
        generation.map_or_else(String::new, |count| count.to_string()),
    );
    line("parent", text(&request["parent"]));
    line("duration", duration(&request["duration_ms"]));
    line("error", text(&request["error"]));
    let list = |name: &str| request[name].as_array().into_iter().flatten();
    for wait in list("waits_for") {
        line("waits", waited_for(wait));
    }
    for trouble in list("trouble") {
        let (step, error) = (text(&trouble["step"]), text(&trouble["error"]));
        line("trouble", format!("step {step}: {error}"));
    }
    for given_up in list("given_up") {
        let to = [text(&given_up["url"]), text(&given_up["request"])].concat();
        line("untold", format!("{to}: {}", text(&given_up["error"])));
    }
    for child in list("children") {
        let (id, flow, status) = (
            text(&child["id"]),
            text(&child["flow"]),
            text(&child["status"]),
        );
        line("sub-flow", format!("{id} {flow} {status}"));
    }
    if request["restartable_until"].is_string() {
        let until = amount::moment(&text(&request["restartable_until"]));
        line(
            "restart",
            format!("until {until}: turlough restart {}", text(&request["id"])),
        );
    }
    about.push('\n');
    about + &steps(request["steps"].as_array().map_or(&[], Vec::as_slice))
}

/// `ask for signal decision`.
fn waited_for(wait: &Json) -> String {
    let what = if let Some(name) = wait["signal"].as_str() {
        format!(" for signal {name}")
    } else if let Some(until) = wait["until"].as_str() {
        format!(" until {}", amount::moment(until))
    } else if wait["callback"] == true {
        " to be called back".to_owned()
    } else if wait["flow"] == true {
        " for its flow".to_owned()
    } else {
        String::new()
    };
    text(&wait["step"]) + &what
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

/// With the count of items of a `for_each`, or of iterations of a `loop`.
fn status(step: &Json) -> String {
    let status = text(&step["status"]).replace('_', " ");
    let number = |name: &str| step[name].as_u64();
    match (number("items_ended"), number("items"), number("iteration")) {
        (Some(ended), Some(all), _) => format!("{status} ({ended}/{all} items)"),
        (_, _, Some(iteration)) => format!("{status} (iteration {iteration})"),
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
