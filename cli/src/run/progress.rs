//! How a request gets on, by step: a line as each ends, and what is going on where there is a
//! terminal to draw on. Steps inside a `for_each` are only counted.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;

use crate::amount;
use crate::platform::{Happening, Platform, ServedFlow, StepEnded};
use crate::terminal::Terminal;

const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Progress {
    terminal: Terminal,
    bar: Option<ProgressBar>,
    items: Items,
    steps_ended: usize,
}

/// How many items of each `for_each` are done.
#[derive(Debug, Default)]
struct Items {
    /// By `for_each`, the nodes whose end is an item's end.
    last_nodes: HashMap<String, HashSet<String>>,
    all: HashMap<String, usize>,
    done: HashMap<String, HashSet<String>>,
}

impl Progress {
    pub(super) async fn new(terminal: Terminal, platform: &Platform, flow: &ServedFlow) -> Self {
        let bar = terminal.draws().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        // Only counts need the graph; without it they are left out.
        let path = format!(
            "/function/{}/flows/{}?format=json",
            flow.function, flow.flow
        );
        let graph = match platform.get(&path).await {
            Ok(answer) => answer.json::<Json>("read the flow").unwrap_or_default(),
            Err(_) => Json::Null,
        };
        Self {
            terminal,
            bar,
            items: Items::of(&graph),
            steps_ended: 0,
        }
    }

    pub(super) fn started(&self, request: &str) {
        self.line(&format!("request {request}"));
    }

    pub(super) fn tell(&mut self, happening: &Happening) {
        match happening {
            Happening::Step(ended) => {
                if let Some(line) = self.step(ended) {
                    self.line(&line);
                }
                if let Some(bar) = &self.bar {
                    bar.set_message(self.message());
                }
            }
            Happening::Reconnecting => self.line("connection lost; trying again"),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What an end of a step is worth saying; nothing for a step that is one of many.
    fn step(&mut self, ended: &StepEnded) -> Option<String> {
        if ended.step.contains('[') {
            self.items.take(ended);
            return (ended.status == "failed").then(|| failed(ended));
        }
        if let (Some(items), "running") = (ended.items, ended.status.as_str()) {
            self.items.all.insert(ended.step.clone(), items);
            return Some(format!("{}: {}", ended.step, amount::count(items, "item")));
        }
        if ended.status == "failed" {
            return Some(failed(ended));
        }
        self.steps_ended += 1;
        let took = amount::duration(ended.duration_ms);
        Some(match self.items.all.remove(&ended.step) {
            Some(_) => format!("{} {}", ended.step, ended.status),
            None => format!("{} {} in {took}", ended.step, ended.status),
        })
    }

    fn message(&self) -> String {
        let mut message = amount::count(self.steps_ended, "step");
        let mut running: Vec<_> = self.items.all.iter().collect();
        running.sort();
        for (step, all) in running {
            let done = self.items.done.get(step).map_or(0, HashSet::len);
            message.push_str(&format!(", {step} {done}/{all}"));
        }
        message
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.terminal.progress(text),
        }
    }
}

impl Items {
    fn of(graph: &Json) -> Self {
        let nodes = graph["graph"]["nodes"].as_array();
        let last_nodes = nodes.into_iter().flatten().filter_map(|node| {
            let last = match &node["with"]["body"]["output"] {
                Json::String(node) => HashSet::from([node.clone()]),
                Json::Array(nodes) => nodes
                    .iter()
                    .filter_map(|node| node.as_str().map(str::to_owned))
                    .collect(),
                _ => return None,
            };
            Some((node["id"].as_str()?.to_owned(), last))
        });
        Self {
            last_nodes: last_nodes.collect(),
            ..Self::default()
        }
    }

    /// Counts `months[3]/clean`, if `clean` is what a month ends with.
    fn take(&mut self, ended: &StepEnded) {
        let Some((each, rest)) = ended.step.split_once('[') else {
            return;
        };
        let Some((index, node)) = rest.split_once("]/") else {
            return;
        };
        let last = self.last_nodes.get(each);
        if ended.status == "succeeded" && last.is_some_and(|last| last.contains(node)) {
            let done = self.done.entry(each.to_owned()).or_default();
            done.insert(index.to_owned());
        }
    }
}

fn failed(ended: &StepEnded) -> String {
    let error = ended.error.as_deref().unwrap_or("no reason given");
    format!("{} failed, attempt {}: {error}", ended.step, ended.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Format;
    use serde_json::json;

    fn progress() -> Progress {
        let body = json!({ "nodes": [], "output": "load" });
        let graph = json!({ "graph": { "nodes": [
            { "id": "extract", "with": {} },
            { "id": "months", "with": { "body": body } },
        ] } });
        let terminal = Terminal {
            format: Format::Text,
            quiet: true,
        };
        Progress {
            terminal,
            bar: None,
            items: Items::of(&graph),
            steps_ended: 0,
        }
    }

    fn lines(progress: &mut Progress, ends: &[Json]) -> Vec<Option<String>> {
        let step = |end: &Json| {
            let mut whole = json!({ "status": "succeeded", "attempt": 1, "duration_ms": 2.0 });
            for (name, value) in end.as_object().unwrap() {
                whole[name] = value.clone();
            }
            progress.step(&serde_json::from_value(whole).unwrap())
        };
        ends.iter().map(step).collect()
    }

    #[test]
    fn steps_are_told_and_items_are_counted() {
        let mut progress = progress();
        let told = lines(
            &mut progress,
            &[
                json!({ "step": "extract" }),
                json!({ "step": "months", "status": "running", "items": 3 }),
                json!({ "step": "months[0]/clean" }),
                json!({ "step": "months[0]/load" }),
                json!({ "step": "months[0]/load" }),
                json!({ "step": "months[2]/load", "status": "failed", "error": "busy" }),
            ],
        );
        assert_eq!(told[0].as_deref(), Some("extract succeeded in 2.0 ms"));
        assert_eq!(told[1].as_deref(), Some("months: 3 items"));
        assert_eq!(told[2..5], [None, None, None]);
        assert_eq!(
            told[5].as_deref(),
            Some("months[2]/load failed, attempt 1: busy")
        );
        assert_eq!(progress.message(), "1 step, months 1/3");
        lines(&mut progress, &[json!({ "step": "months" })]);
        assert_eq!(progress.message(), "2 steps");
    }
}
