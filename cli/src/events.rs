//! `turlough events`: a request's log, as it grows.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use turlough_sdk::RequestId;

use crate::amount;
use crate::exit::{Exit, Failure};
use crate::platform::{Follower, Happening, Platform, ServerEvent};
use crate::terminal::Terminal;

/// What stands elsewhere in a line, or is for machines.
const LEFT_OUT: [&str; 10] = [
    "step", "status", "at", "begin", "end", "replica", "data", "error", "graph", "tenant",
];

#[derive(Debug, Args)]
#[command(
    after_help = "A line per event: its place in the log (of the last one of those that were recorded together), its
time, what it is, of which step, and more. --output json writes a document per line.

Examples:
  turlough events 01a2b3c4-0000-7000-8000-0123456789ab
  turlough events 01a2b3c4-0000-7000-8000-0123456789ab --output json | jq 'select(.event == \"step_ended\")'"
)]
pub(crate) struct EventsArguments {
    /// The request's id
    id: RequestId,
}

#[derive(Debug, Serialize)]
struct LogEvent {
    seq: Option<u64>,
    event: String,
    #[serde(flatten)]
    data: Map<String, Json>,
}

pub(crate) async fn events(
    platform: &Platform,
    terminal: Terminal,
    arguments: &EventsArguments,
) -> Result<Exit, Failure> {
    let held = platform.find_request(arguments.id).await?;
    let request = arguments.id.to_string();
    let follower = Follower::new(platform, &held.function, &request);
    let mut printed = Ok(());
    let tell = |happening| match happening {
        Happening::Logged(event) if printed.is_ok() => printed = print(terminal, event),
        Happening::Reconnecting => terminal.progress("connection lost; trying again"),
        _ => {}
    };
    follower.until_ended(tell).await?;
    printed.map(|()| Exit::Ok)
}

fn print(terminal: Terminal, event: ServerEvent) -> Result<(), Failure> {
    let event = LogEvent {
        seq: event.id.and_then(|id| id.parse().ok()),
        event: event.name,
        data: serde_json::from_str(&event.data).unwrap_or_default(),
    };
    if terminal.is_json() {
        terminal.json(&event)
    } else {
        terminal.line(&line(&event))
    }
}

/// `   12  2026-05-01 10:00:00Z  step_ended    hotel  failed  attempt=1  …`.
fn line(event: &LogEvent) -> String {
    let data = &event.data;
    let text = |name: &str| data.get(name).and_then(Json::as_str).unwrap_or_default();
    let at = match text("at") {
        "" => text("end"),
        at => at,
    };
    let seq = event.seq.map_or_else(String::new, |seq| seq.to_string());
    let at = amount::moment(at);
    let mut line = format!("{seq:>5}  {at}  {:<13}", event.event);
    for part in [text("step"), text("status")] {
        if !part.is_empty() {
            line.push_str(&format!("  {part}"));
        }
    }
    for (name, value) in data {
        if !LEFT_OUT.contains(&name.as_str()) && !value.is_null() {
            line.push_str(&format!("  {name}={}", short(value)));
        }
    }
    if !text("error").is_empty() {
        line.push_str(&format!("  {}", text("error")));
    }
    line.trim_end().to_owned()
}

fn short(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_one_line_with_its_place_time_and_step() {
        let told = |seq, event: &str, data: &str| {
            line(&LogEvent {
                seq,
                event: event.to_owned(),
                data: serde_json::from_str(data).unwrap(),
            })
        };
        let ended = r#"{"step":"hotel","status":"failed","attempt":2,"error":"no room",
            "end":"2026-05-01T10:00:00.5Z","cause":"permanent"}"#;
        assert_eq!(
            told(Some(12), "step_ended", ended),
            "   12  2026-05-01 10:00:00Z  step_ended     hotel  failed  attempt=2  cause=permanent  no room"
        );
        let settled = r#"{"at":"2026-05-01T10:00:01Z"}"#;
        assert_eq!(
            told(None, "settled", settled),
            "       2026-05-01 10:00:01Z  settled"
        );
    }
}
