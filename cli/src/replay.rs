//! `turlough replay`: folds the events of a request on this machine, one after the other.
//!
//! Invariant: nothing is asked of a platform. Absent: what no event says, such as which retries are left
//! and which nodes have not begun; `turlough request ID --at SEQ` asks the server, which knows the flow.

mod log;
mod said;
mod state;

use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value as Json, json};

use crate::amount;
use crate::exit::{Exit, Failure};
use crate::terminal::Terminal;
use log::{Entry, Log};
use state::State;

/// Most steps of one kind that a line names; the end, and --at, show all.
const NAMED_MAX: usize = 6;

#[derive(Debug, Args)]
#[command(
    after_help = "LOG is what `turlough events ID --output json` prints. For each event: its place in the log, the time
since the request began, what it says, and how the request stands after it; at the end, every step.
An event that changes nothing, such as a second end of one attempt, is told so.

The fold knows what events say, and nothing else: a step is seen when an event names it (most are
first named by their end), and a failed step may be tried again. A graph that was made for a step
(`expand`) has no end of its own: where the request failed, it counts as done if nothing in it was
open. Places only grow, and leave some
out, so that a missing line is noticed by what the others need, not by its place.
`turlough request ID --at SEQ` shows what the server makes of the same events with the flow at hand.

Examples:
  turlough events 01a2b3c4-0000-7000-8000-0123456789ab --output json > log.jsonl
  turlough replay log.jsonl
  turlough replay log.jsonl --at 12
  turlough events 01a2b3c4-0000-7000-8000-0123456789ab --output json | turlough replay -
  turlough replay log.jsonl --output json | tail -1 | jq '.state.steps[] | select(.status == \"failed\")'"
)]
pub(crate) struct ReplayArguments {
    /// File with a request's events, an object per line; - for stdin
    log: PathBuf,

    /// Shows the request as it stood at this place in its log, and no other event
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
}

pub(crate) fn replay(terminal: Terminal, arguments: &ReplayArguments) -> Result<Exit, Failure> {
    let reader: Box<dyn BufRead> = match arguments.log.to_str() {
        Some("-") => Box::new(stdin().lock()),
        _ => {
            let file = std::fs::File::open(&arguments.log);
            let cannot = || format!("cannot open the log `{}`", arguments.log.display());
            let file = file.with_context(cannot).map_err(Failure::input)?;
            Box::new(BufReader::new(file))
        }
    };
    let folded = fold(terminal, Log::new(reader), arguments.at);
    let named = || format!("cannot replay `{}`", arguments.log.display());
    folded.map_err(|failure| Failure {
        cause: failure.cause.context(named()),
        ..failure
    })
}

fn fold(
    terminal: Terminal,
    mut log: Log<Box<dyn BufRead>>,
    at: Option<u64>,
) -> Result<Exit, Failure> {
    let mut state = State::default();
    let (mut last, mut count) = (0, 0);
    while let Some(entries) = log.next_append().map_err(Failure::input)? {
        if let (Some(at), Some(first)) = (at, entries.first())
            && first.seq > at
        {
            if count == 0 {
                let text = format!("--at {at} is before its first event, at {}", first.seq);
                return Err(Failure::input(anyhow!(text)));
            }
            last = at;
            break;
        }
        for entry in &entries {
            let counts = state.fold(entry).map_err(Failure::input)?;
            count += 1;
            last = entry.seq;
            if at.is_none() {
                print(terminal, entry, counts, &state)?;
            }
        }
    }
    if let Some(at) = at.filter(|at| *at > last) {
        let text = format!("--at {at} is after its last event, at {last}");
        return Err(Failure::input(anyhow!(text)));
    }
    if at.is_none() && !terminal.is_json() {
        terminal.line("")?;
    }
    finish(terminal, at.unwrap_or(last), count, &state)?;
    Ok(Exit::Ok)
}

fn print(terminal: Terminal, entry: &Entry, counts: bool, state: &State) -> Result<(), Failure> {
    let since_us = state.since_us(entry.said.at_us());
    let mut says = entry.said.words();
    if !counts {
        says.push_str("; it comes too late, and changes nothing");
    }
    if terminal.is_json() {
        return terminal.json(&json!({
            "seq": entry.seq,
            "event": entry.said.name(),
            "since_begin_ms": since_us as f64 / 1e3,
            "says": says,
            "counts": counts,
            "state": standing(state),
        }));
    }
    // Below 0 where the clock of another machine is behind.
    let sign = if since_us < 0 { '-' } else { '+' };
    let since = amount::duration(since_us.unsigned_abs() as f64 / 1e3);
    let since = format!("{sign}{since}");
    terminal.line(&format!("{:>5}  {since:>10}  {says}", entry.seq))?;
    terminal.line(&format!("{:19}{}", "", in_short(state)))
}

/// The request as the last event leaves it, with every step.
fn finish(terminal: Terminal, seq: u64, count: usize, state: &State) -> Result<(), Failure> {
    let (flow, version) = (state.flow(), state.version());
    if terminal.is_json() {
        let mut standing = standing(state);
        standing["steps"] = state.rows().map(row).collect();
        return terminal.json(&json!({
            "seq": seq,
            "events": count,
            "flow": flow,
            "version": version,
            "state": standing,
        }));
    }
    let mut text = format!(
        "at {seq}, after {}: flow {flow} (version {version}) {}\n",
        amount::count(count, "event"),
        state.status()
    );
    let paths = state.rows().map(|(path, _)| path.chars().count());
    let width = paths.max().unwrap_or(0);
    for (path, step) in state.rows() {
        let (status, attempt) = (step.now.name(), step.attempt);
        text.push_str(&format!("  {path:width$}  {status:<9}  attempt {attempt}"));
        if let Some(error) = &step.error {
            text.push_str(&format!("  {error}"));
        }
        text.push('\n');
    }
    terminal.line(text.trim_end())
}

fn row((path, step): (&str, &state::Step)) -> Json {
    let mut row = json!({ "step": path, "status": step.now.name(), "attempt": step.attempt });
    if let Some(error) = &step.error {
        row["error"] = error.as_str().into();
    }
    row
}

fn standing(state: &State) -> Json {
    let mut standing = json!({
        "status": state.status(),
        "generation": state.generation(),
    });
    for (name, steps) in state.groups() {
        // Those that are done only grow: with them each line would be longer than the last.
        standing[name] = match name {
            "done" => steps.len().into(),
            _ => steps.into(),
        };
    }
    standing
}

/// `running; running: a, b; 3 done: …`.
fn in_short(state: &State) -> String {
    let mut text = state.status().replace('_', " ");
    for (name, steps) in state.groups() {
        if steps.is_empty() {
            continue;
        }
        // Of those that are done, the last ones are news.
        let shown = match name {
            "done" => &steps[steps.len().saturating_sub(NAMED_MAX)..],
            _ => &steps[..steps.len().min(NAMED_MAX)],
        };
        let dots = if shown.len() < steps.len() {
            ", …"
        } else {
            ""
        };
        let (count, names) = (steps.len(), shown.join(", "));
        text.push_str(&format!("; {count} {name}: {names}{dots}"));
    }
    text
}

#[cfg(test)]
mod tests;
