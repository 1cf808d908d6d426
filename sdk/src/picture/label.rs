//! What stands in a node's box: its name and operation, and a line for each attribute.

use crate::duration::format_duration;
use crate::graph::{Fallback, Formula, Operation, Text, Vertex, Wait};

/// Longest line of a label, in characters; longer text is cut.
const LINE_CHARS_MAX: usize = 60;

/// One line of a label.
pub(super) fn line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut line: String = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(LINE_CHARS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

pub(super) fn formula(formula: &Formula) -> String {
    match formula {
        Formula::Jq(jq) => jq.source().to_owned(),
        Formula::Closure(_) => "closure".to_owned(),
    }
}

/// The lines of a node's label.
pub(super) fn node(node: &Vertex) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", node.id, operation(&node.operation))];
    let mut say = |word: &str, what: Option<String>| {
        lines.extend(what.map(|what| format!("{word} {what}")));
    };
    if let Operation::Switch(switch) = &node.operation {
        say("match", switch.all.then(|| "all".to_owned()));
    }
    if let Operation::Loop(again) = &node.operation {
        let (when, most) = (formula(&again.again), again.iterations_max);
        say("while", Some(format!("{when}, at most {most} times")));
    }
    if let Operation::ForEach(each) = &node.operation {
        say("errors", each.collect.then(|| "collect".to_owned()));
    }
    say("aggregate", node.aggregate.as_ref().map(formula));
    say("when", node.when.as_ref().map(formula));
    let attempts = node.retry.attempts();
    say("attempts", (attempts > 1).then(|| attempts.to_string()));
    say("timeout", node.timeout.map(format_duration));
    say(
        "called",
        (!node.idempotent).then(|| "at most once".to_owned()),
    );
    let called = matches!(
        node.operation,
        Operation::Apply(_) | Operation::Http(_) | Operation::Map(_)
    );
    say(
        "leaves",
        (called && node.pure).then(|| "no trace".to_owned()),
    );
    say("fallback", node.fallback.as_ref().map(fallback));
    let compensate = node.compensate.as_ref();
    say(
        "compensate",
        compensate.map(|undo| operation(&undo.operation)),
    );
    let set: Vec<_> = node.set.iter().map(|(name, _)| name.as_str()).collect();
    say("sets", (!set.is_empty()).then(|| set.join(", ")));
    lines.iter().map(|text| line(text)).collect()
}

fn fallback(fallback: &Fallback) -> String {
    match fallback {
        Fallback::Constant(_) => "value".to_owned(),
        Fallback::Node(node) => operation(&node.operation),
    }
}

/// The operation in a few words.
fn operation(operation: &Operation) -> String {
    let name = operation.name();
    let what = match operation {
        Operation::Apply(apply) if apply.asynchronous => format!("{} async", apply.function),
        Operation::Apply(apply) => apply.function.to_string(),
        Operation::Http(http) => {
            let callback = if http.callback { " callback" } else { "" };
            format!("{} {}{callback}", http.method, text(&http.url))
        }
        Operation::Expand(expand) => self::operation(&expand.by),
        Operation::Flow(flow) => flow.to_string(),
        Operation::Wait(Wait::Duration(time)) => format_duration(*time),
        Operation::Wait(Wait::Until(jq)) => format!("until {}", jq.source()),
        Operation::Wait(Wait::Signal(signal)) => format!("signal {signal}"),
        Operation::Map(_)
        | Operation::Pass(_)
        | Operation::Switch(_)
        | Operation::ForEach(_)
        | Operation::Loop(_) => return name.to_owned(),
    };
    format!("{name} {what}")
}

fn text(text: &Text) -> String {
    match text {
        Text::Literal(text) => text.clone(),
        Text::Jq(jq) => jq.source().to_owned(),
        Text::Secret(name) => format!("secret {name}"),
    }
}
