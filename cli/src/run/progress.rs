//! How a request gets on, by step: a line as each ends, and what is going on where there is a
//! terminal to draw on. Steps inside a `for_each`, a `loop` or an `expand` are only counted; what
//! undoes them, and handlers, are told like steps of the flow.

use std::collections::HashSet;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;

use super::inside::Inside;
use crate::amount;
use crate::platform::{Happening, Platform, StepEnded, Wait};
use crate::terminal::Terminal;

const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Progress {
    terminal: Terminal,
    bar: Option<ProgressBar>,
    inside: Inside,
    /// Steps that somebody else completes; how long that takes stands in no event.
    called: HashSet<String>,
    steps_ended: usize,
    /// What was told last of what the request waits for.
    waits: String,
}

impl Progress {
    pub(super) async fn new(
        terminal: Terminal,
        platform: &Platform,
        function: &str,
        flow: &str,
    ) -> Self {
        let bar = terminal.draws().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        // Only counts need the graph; without it they are left out.
        let path = format!("/function/{function}/flows/{flow}?format=json");
        let graph = match platform.get(&path).await {
            Ok(answer) => answer.json::<Json>("read the flow").unwrap_or_default(),
            Err(_) => Json::Null,
        };
        Self {
            terminal,
            bar,
            inside: Inside::of(&graph),
            called: HashSet::new(),
            steps_ended: 0,
            waits: String::new(),
        }
    }

    pub(super) fn started(&self, request: &str) {
        self.line(&format!("request {request}"));
    }

    pub(super) fn tell(&mut self, happening: &Happening) {
        if let Some(line) = self.told(happening) {
            self.line(&line);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(self.message());
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn told(&mut self, happening: &Happening) -> Option<String> {
        let line = |text: &str| Some(text.to_owned());
        if !matches!(happening, Happening::Sleeping(_) | Happening::Logged(_)) {
            self.waits.clear();
        }
        match happening {
            Happening::Step(ended) => self.step(ended),
            Happening::Called(step) if is_inner(step) => None,
            Happening::Called(step) => {
                self.called.insert(step.clone());
                Some(format!("{step} was called, and will be answered"))
            }
            Happening::Sleeping(waits) => self.sleeping(waits),
            Happening::Logged(_) => None,
            Happening::Signalled(name) => Some(format!("signal {name} came")),
            Happening::Paused => line("paused: no step starts"),
            Happening::Resumed => line("resumed"),
            Happening::Cancelling => line("cancelled: no step starts"),
            Happening::Restarted => line("restarted"),
            Happening::Reconnecting => line("connection lost; trying again"),
        }
    }

    /// What an end of a step is worth saying; nothing for a step that is one of many.
    fn step(&mut self, ended: &StepEnded) -> Option<String> {
        let StepEnded { step, status, .. } = ended;
        self.inside.take(ended);
        match status.as_str() {
            "failed" => return Some(failed(ended)),
            _ if is_inner(step) => return None,
            "running" | "sleeping" => return going_on(ended),
            "lost" => return Some(format!("{step}: its output is lost, and made again")),
            _ => {}
        }
        self.steps_ended += 1;
        let took = amount::duration(ended.duration_ms);
        Some(match self.inside.ended(step) {
            Some(whole) => format!("{step} {status}{whole}"),
            None if self.called.remove(step) => format!("{step} {status}"),
            None => format!("{step} {status} in {took}"),
        })
    }

    /// What the request waits for, once: a loop that asks and sleeps does so again and again.
    fn sleeping(&mut self, waits: &[Wait]) -> Option<String> {
        let told = waits.iter().filter(|wait| !is_inner(&wait.step));
        let told: Vec<_> = told.map(waited_for).collect();
        let text = format!("sleeping: {}", told.join(", "));
        if told.is_empty() || self.waits == text {
            return None;
        }
        self.waits.clone_from(&text);
        Some(text)
    }

    fn message(&self) -> String {
        let mut message = amount::count(self.steps_ended, "step");
        for counted in self.inside.counts() {
            message.push_str(&format!(", {counted}"));
        }
        if !self.waits.is_empty() {
            message.push_str(", sleeping");
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

/// Whether a step stands inside a node of the flow, or undoes one that does.
fn is_inner(step: &str) -> bool {
    let step = step.strip_suffix("/~compensate").unwrap_or(step);
    let handlers = ["~on_failure/", "~finally/"];
    let step = handlers
        .iter()
        .find_map(|handler| step.strip_prefix(handler))
        .unwrap_or(step);
    step.contains(['[', '#', '/'])
}

/// `ask waits for signal decision`.
fn waited_for(wait: &Wait) -> String {
    let step = &wait.step;
    match wait {
        Wait {
            signal: Some(name), ..
        } => format!("{step} waits for signal {name}"),
        Wait {
            until: Some(until), ..
        } => format!("{step} until {}", amount::moment(until)),
        Wait { callback: true, .. } => format!("{step} waits to be called back"),
        Wait { flow: true, .. } => format!("{step} waits for its flow"),
        _ => format!("{step} waits"),
    }
}

/// What a step says that goes on, inside or asleep.
fn going_on(ended: &StepEnded) -> Option<String> {
    let step = &ended.step;
    if let Some(items) = ended.items {
        return Some(format!("{step}: {}", amount::count(items, "item")));
    }
    if let Some(bytes) = ended.graph_bytes {
        return Some(format!("{step}: a graph of {}", amount::bytes(bytes)));
    }
    let until = ended.until.as_ref()?;
    Some(format!("{step} sleeps until {}", amount::moment(until)))
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
            inside: Inside::of(&graph),
            called: HashSet::new(),
            steps_ended: 0,
            waits: String::new(),
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

    #[test]
    fn loops_count_their_iterations_and_expansions_their_steps() {
        let mut progress = progress();
        let again = |again| json!({ "step": "poll", "status": "running", "again": again });
        let begun = [
            again(true),
            json!({ "step": "poll#1/ask" }),
            again(true),
            json!({ "step": "poll#2/ask" }),
            again(true),
            json!({ "step": "build", "status": "running", "graph_bytes": 2048 }),
            json!({ "step": "build/one" }),
            json!({ "step": "build/two" }),
        ];
        let told: Vec<_> = lines(&mut progress, &begun).into_iter().flatten().collect();
        assert_eq!(told, ["build: a graph of 2.0 KiB"]);
        assert_eq!(progress.message(), "0 steps, build 2 steps, poll #2");
        let ended = [
            json!({ "step": "poll", "again": false }),
            json!({ "step": "build" }),
        ];
        let told: Vec<_> = lines(&mut progress, &ended).into_iter().flatten().collect();
        let expected = [
            "poll succeeded after 2 iterations",
            "build succeeded after 2 steps",
        ];
        assert_eq!(told, expected);
        assert_eq!(progress.message(), "2 steps");
    }

    #[test]
    fn what_undoes_a_step_and_handlers_are_told_like_steps() {
        let mut progress = progress();
        let ends = [
            json!({ "step": "hotel/~compensate" }),
            json!({ "step": "months[1]/load/~compensate" }),
            json!({ "step": "~finally/note" }),
            json!({ "step": "~on_failure/each[3]/tell" }),
        ];
        let told: Vec<_> = lines(&mut progress, &ends).into_iter().flatten().collect();
        let expected = [
            "hotel/~compensate succeeded in 2.0 ms",
            "~finally/note succeeded in 2.0 ms",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_sleeping_request_waits_for_is_told_once() {
        let mut progress = progress();
        let waits = json!([
            { "step": "ask", "signal": "go" },
            { "step": "report", "callback": true },
            { "step": "poll#3/nap", "until": "2026-05-01T10:00:00Z" },
        ]);
        let mut sleep = || {
            let waits = serde_json::from_value(waits.clone()).unwrap();
            progress.told(&Happening::Sleeping(waits))
        };
        let told = "sleeping: ask waits for signal go, report waits to be called back";
        assert_eq!(sleep().as_deref(), Some(told));
        assert_eq!(sleep(), None);
        assert_eq!(progress.message(), "0 steps, sleeping");
        let came = progress.told(&Happening::Signalled("go".to_owned()));
        assert_eq!(came.as_deref(), Some("signal go came"));
        assert_eq!(progress.message(), "0 steps");
    }
}
