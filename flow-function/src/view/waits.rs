//! What a request waits for that somebody else brings, or time: signals, callbacks, sub-flows, waits.

use serde_json::{Value as Json, json};
use turlough_sdk::{Flow, Graph, Operation, Place, StepPath, Vertex, Wait as WaitFor, read_graph};
use turlough_statestore::event::StepEnd;

use super::attempt::{Mark, Row};
use super::nodes::Nodes;
use super::story::Story;
use super::time;

/// Attempt numbers at which a wait is looked for: each reset takes one, and each `when`.
const ATTEMPTS_TRIED: u32 = 64;
/// Most waits that are shown, and most places where one is looked for.
const SHOWN_MAX: usize = 100;
const LOOKED_MAX: usize = 10_000;

/// A step that waits.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) step: StepPath,
    operation: &'static str,
    what: What,
}

#[derive(Debug)]
enum What {
    Signal(String),
    Until(u64),
    /// For as long as its node says; when the next one is over stands at the request.
    Time,
    Callback {
        since_us: u64,
    },
    Flow {
        since_us: u64,
    },
}

impl Wait {
    pub(super) fn json(&self) -> Json {
        let mut view = json!({ "step": self.step.as_str(), "operation": self.operation });
        match &self.what {
            What::Signal(name) => view["signal"] = name.as_str().into(),
            What::Until(until_us) => view["until"] = time(*until_us).into(),
            What::Time => {}
            What::Callback { since_us } => {
                view["callback"] = true.into();
                view["since"] = time(*since_us).into();
            }
            What::Flow { since_us } => {
                view["flow"] = true.into();
                view["since"] = time(*since_us).into();
            }
        }
        view
    }
}

/// What a request waits for now, in the order of its steps' events.
pub(super) fn waits(story: &Story<'_>, nodes: &Nodes<'_>) -> Vec<Wait> {
    let Some(flow) = story.execution.as_ref().map(|execution| execution.flow()) else {
        return Vec::new();
    };
    let mut waits = Vec::new();
    for step in &story.seen {
        waits.extend(by_events(story, nodes, step));
    }
    let mut looked = LOOKED_MAX;
    let path = |node: &Vertex| StepPath::root(&node.id);
    look(story, flow.graph(), path, &mut looked, &mut waits);
    for (handler, graph) in [
        ("~on_failure", flow.on_failure()),
        ("~finally", flow.finally()),
    ] {
        let path = |node: &Vertex| StepPath::from(handler).inside(None, &node.id);
        if let Some(graph) = graph {
            look(story, graph, path, &mut looked, &mut waits);
        }
    }
    for step in &story.seen {
        if let Some(row) = story.rows.get(step)
            && row.goes_on_inside()
        {
            look_inside(story, (flow, nodes), (step, row), &mut looked, &mut waits);
        }
    }
    waits.truncate(SHOWN_MAX);
    waits
}

/// A wait that a step's own events tell of.
fn by_events(story: &Story<'_>, nodes: &Nodes<'_>, step: &StepPath) -> Option<Wait> {
    let row = story.rows.get(step)?;
    if !story.awaits(step, row.attempt) {
        return None;
    }
    let operation = nodes.find(step).map(|node| node.operation.name());
    let what = match row.mark {
        Mark::Called(since_us) if operation == Some("flow") => What::Flow { since_us },
        Mark::Called(since_us) => What::Callback { since_us },
        Mark::Ended(ended) => match ended.end {
            StepEnd::Waits { until_us } => What::Until(until_us),
            _ => return None,
        },
        Mark::None | Mark::Begun => return None,
    };
    Some(Wait {
        step: step.clone(),
        operation: operation.unwrap_or("wait"),
        what,
    })
}

/// Waits of which there is no event: the machine alone knows that they are open.
fn look(
    story: &Story<'_>,
    graph: &Graph,
    path: impl Fn(&Vertex) -> StepPath,
    looked: &mut usize,
    waits: &mut Vec<Wait>,
) {
    for node in &graph.nodes {
        let what = match &node.operation {
            Operation::Wait(WaitFor::Signal(name)) => What::Signal(name.to_string()),
            Operation::Wait(WaitFor::Duration(_)) => What::Time,
            _ => continue,
        };
        if *looked == 0 {
            return;
        }
        *looked -= 1;
        let step = path(node);
        // An attempt that the machine wanted run asks its `when`.
        let asked = story.rows.get(&step);
        let asks = asked
            .is_some_and(|row| matches!(row.mark, Mark::Begun) && story.awaits(&step, row.attempt));
        let first = asked.map_or(1, |row| row.attempt.max(1));
        let mut tried = first..first.saturating_add(ATTEMPTS_TRIED);
        if !asks && tried.any(|attempt| story.awaits(&step, attempt)) {
            let operation = node.operation.name();
            waits.push(Wait {
                step,
                operation,
                what,
            });
        }
    }
}

/// Looks into the bodies that a step runs now.
fn look_inside(
    story: &Story<'_>,
    (flow, nodes): (&Flow, &Nodes<'_>),
    (step, row): (&StepPath, &Row<'_>),
    looked: &mut usize,
    waits: &mut Vec<Wait>,
) {
    if let Mark::Ended(ended) = row.mark
        && let StepEnd::Expanded { graph, .. } = &ended.end
    {
        if let Ok(graph) = read_graph(graph, flow.closures()) {
            let path = |node: &Vertex| step.inside(None, &node.id);
            look(story, &graph, path, looked, waits);
        }
        return;
    }
    match nodes.find(step).map(|node| &node.operation) {
        Some(Operation::ForEach(each)) if has_waits(&each.body) => {
            for item in 0..row.items.unwrap_or(0) {
                if *looked == 0 {
                    return;
                }
                let path = |node: &Vertex| step.inside(Some(Place::Item(item)), &node.id);
                look(story, &each.body, path, looked, waits);
            }
        }
        Some(Operation::Loop(looped)) => {
            let place = Some(Place::Iteration(row.iterations));
            let path = |node: &Vertex| step.inside(place, &node.id);
            look(story, &looped.body, path, looked, waits);
        }
        _ => {}
    }
}

fn has_waits(graph: &Graph) -> bool {
    let mut nodes = graph.nodes.iter();
    nodes.any(|node| matches!(node.operation, Operation::Wait(_)))
}
