//! The steps of a request, each with how it stands.

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};
use turlough_sdk::StepPath;
use turlough_statestore::event::{Outcome, StepEnd};

use super::attempt::{Mark, Row};
use super::event::{self, status};
use super::nodes::Nodes;
use super::order::Order;
use super::story::Story;
use super::waits::Wait;
use super::{millis, time};
use crate::machine::StepState;

/// What is known of a request's steps as a whole.
struct Steps<'a> {
    story: &'a Story<'a>,
    nodes: &'a Nodes<'a>,
    /// How the nodes of the flow's own graph stand.
    roots: HashMap<StepPath, StepState>,
    waiting: HashSet<&'a StepPath>,
    /// The step by which the request failed.
    culprit: Option<&'a StepPath>,
    /// Bodies in which a step failed for good.
    failed_bodies: HashSet<&'a str>,
}

/// A row for each step that began, and for each node of the flow's own graph.
pub(super) fn steps(story: &Story<'_>, nodes: &Nodes<'_>, waits: &[Wait]) -> Json {
    let execution = story.execution.as_ref();
    let states = execution.map(|execution| execution.root_states());
    let states = states.unwrap_or_default();
    let mut paths = story.seen.clone();
    let mut known: HashSet<_> = paths.iter().cloned().collect();
    let roots = states.iter().map(|state| StepPath::root(&state.node));
    let waiting = waits.iter().map(|wait| wait.step.clone());
    for path in waiting.chain(roots) {
        if known.insert(path.clone()) {
            paths.push(path);
        }
    }
    let roots = states.into_iter().map(|s| (StepPath::root(&s.node), s));
    let failed = story.rows.iter().filter(|(path, row)| {
        let ended =
            matches!(row.mark, Mark::Ended(ended) if matches!(ended.end, StepEnd::Failed { .. }));
        ended && !story.awaits(path, row.attempt.saturating_add(1))
    });
    let failed_bodies = failed.filter_map(|(path, _)| Some(path.as_str().rsplit_once('/')?.0));
    let steps = Steps {
        story,
        nodes,
        roots: roots.collect(),
        waiting: waits.iter().map(|wait| &wait.step).collect(),
        culprit: match story.ended {
            Some((Outcome::Failed { step, .. }, ..)) => Some(step),
            _ => None,
        },
        failed_bodies: failed_bodies.collect(),
    };
    let mut order = Order::default();
    let mut placed: Vec<_> = paths.iter().map(|path| (order.place(path), path)).collect();
    placed.sort();
    let rows = placed.into_iter().map(|(_, path)| steps.row(path));
    Json::Array(rows.collect())
}

impl Steps<'_> {
    fn row(&self, path: &StepPath) -> Json {
        let none = Row::default();
        let row = self.story.rows.get(path).unwrap_or(&none);
        let status = self.status(path, row);
        let mut view = json!({ "step": path.as_str(), "status": status });
        let root = self.roots.get(path);
        let operation = root.map(|state| state.operation);
        let operation = operation.or_else(|| Some(self.nodes.find(path)?.operation.name()));
        if let Some(operation) = operation {
            view["operation"] = operation.into();
        }
        if row.attempt > 0 {
            self.attempt(&mut view, row, status);
        }
        if let Some((ended, all)) = root.and_then(|state| state.items) {
            view["items_ended"] = ended.into();
            view["items"] = all.into();
        } else if let Some(items) = row.items {
            view["items"] = items.into();
        }
        let iteration = root.and_then(|state| state.iteration);
        if let Some(iteration) = iteration.or((row.iterations > 0).then_some(row.iterations)) {
            view["iteration"] = iteration.into();
        }
        if status == "failed" && view["error"].is_null() {
            self.why(&mut view, path);
        }
        view
    }

    fn attempt(&self, view: &mut Json, row: &Row<'_>, status: &str) {
        view["attempt"] = row.attempt.into();
        if row.generation > 0 {
            view["generation"] = row.generation.into();
        }
        let begin = if row.begin_us > self.story.at_us {
            "next_attempt_at"
        } else {
            "begin"
        };
        view[begin] = time(row.begin_us).into();
        if row.fallback {
            view["fallback"] = true.into();
        }
        let mut earlier = row.earlier.clone();
        match row.mark {
            Mark::Called(at_us) => view["called_at"] = time(at_us).into(),
            // It is to run again: what it came to before is void.
            Mark::Ended(ended) if matches!(status, "waiting" | "not_reached") => {
                earlier.push(ended)
            }
            Mark::Ended(ended) => {
                let goes_on = matches!(status, "running" | "sleeping" | "held");
                if !goes_on && !row.goes_on_inside() {
                    view["end"] = time(ended.end_us).into();
                    view["duration_ms"] = millis(row.begin_us, ended.end_us);
                }
                view["replica"] = ended.replica.to_string().into();
                event::tell(view, &ended.end);
            }
            Mark::None | Mark::Begun => {}
        }
        if status == "retrying"
            && let Some(last) = row.earlier.last()
        {
            event::tell(view, &last.end);
        }
        if !earlier.is_empty() {
            view["attempts"] = earlier.into_iter().map(event::step_ended).collect();
        }
    }

    /// What failed a step that has no failed attempt of its own: what is inside it, or time.
    fn why(&self, view: &mut Json, path: &StepPath) {
        if let Some((Outcome::Failed { step, message, .. }, ..)) = self.story.ended {
            view["error"] = if step == path {
                message.as_str().into()
            } else {
                format!("step {step}: {message}").into()
            };
        }
    }

    fn status(&self, path: &StepPath, row: &Row<'_>) -> &'static str {
        if self.culprit == Some(path) {
            return "failed";
        }
        let over = self.story.is_over();
        let open = self.open(path, row);
        match self.roots.get(path).map(|state| state.status) {
            Some("waiting") if over => "not_reached",
            Some("sleeping") if open.is_none() && over => "abandoned",
            Some("running") => open.unwrap_or_else(|| self.stopped_or(path, row, over)),
            Some("sleeping") => open.unwrap_or("sleeping"),
            Some(settled) => settled,
            None => open.unwrap_or_else(|| self.by_events(path, row, over)),
        }
    }

    /// How an open attempt stands; none where none is known to be open.
    fn open(&self, path: &StepPath, row: &Row<'_>) -> Option<&'static str> {
        if self.waiting.contains(path) {
            return Some("sleeping");
        }
        if self.story.awaits(path, row.attempt) {
            return match row.mark {
                Mark::Called(_) => Some("sleeping"),
                Mark::Begun if row.failed_before() && !row.fallback => Some("retrying"),
                Mark::Begun => Some("running"),
                Mark::None | Mark::Ended(_) => None,
            };
        }
        // What was not told of is held back by a pause.
        let held = self.story.is_paused() && self.story.awaits(path, row.attempt.saturating_add(1));
        held.then_some("held")
    }

    /// A node of the flow's own graph that has not come to its end, and has no open attempt.
    fn stopped_or(&self, path: &StepPath, row: &Row<'_>, over: bool) -> &'static str {
        match over {
            true if self.is_above_culprit(path) => "failed",
            true => "abandoned",
            false if self.story.is_paused() && !row.goes_on_inside() => "held",
            false => "running",
        }
    }

    /// A step of a body, a handler or a compensation, which the machine forgets with its graph.
    fn by_events(&self, path: &StepPath, row: &Row<'_>, over: bool) -> &'static str {
        let execution = self.story.execution.as_ref();
        if let Mark::Ended(ended) = row.mark {
            let settled = status(&ended.end);
            let fell_back = || execution.is_some_and(|e| e.value_at(path).is_some());
            match settled {
                "succeeded" | "skipped" => return settled,
                "failed" if fell_back() => return "succeeded",
                "failed" => return settled,
                _ => {}
            }
        }
        let Some(execution) = execution else {
            return if over { "abandoned" } else { "running" };
        };
        if execution.value_at(path).is_some() {
            return "succeeded";
        }
        if execution.inputs_at(path).is_some() {
            return self.stopped_or(path, row, over);
        }
        if self.is_above_culprit(path) {
            return "failed";
        }
        // Its graph is gone: it came to its end, unless something in it failed.
        let body = path.as_str().rsplit_once('/').map(|(body, _)| body);
        if body.is_some_and(|body| self.failed_bodies.contains(body)) {
            "abandoned"
        } else {
            "succeeded"
        }
    }

    /// Whether the step by which the request failed stands inside this one.
    fn is_above_culprit(&self, path: &StepPath) -> bool {
        let inside = self
            .culprit
            .and_then(|step| step.as_str().strip_prefix(path.as_str()));
        inside.is_some_and(|rest| rest.starts_with(['/', '[', '#']))
    }
}
