//! Functions that flows apply and no stack has: no mistake by itself, since they may run elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use turlough_gateway::{FunctionName, StackFunction};
use turlough_sdk::{Fallback, Flow, Operation, Vertex};

/// The function that serves the YAML flows.
pub(crate) const FLOWS_FUNCTION: &str = "flows";

/// A warning for each function that is applied and neither among `functions` nor the one that serves
/// the flows.
pub(crate) fn warnings<'a>(
    functions: impl IntoIterator<Item = &'a StackFunction>,
    flows: &[Flow],
) -> Vec<String> {
    let known = functions.into_iter().map(|f| f.spec.name.clone()).collect();
    warnings_of(&known, flows, "which no stack here has")
}

/// The same by the functions' names; `why` says where they are missing.
pub(crate) fn warnings_of<'a>(
    known: &BTreeSet<FunctionName>,
    flows: impl IntoIterator<Item = &'a Flow>,
    why: &str,
) -> Vec<String> {
    let mut missing = BTreeMap::new();
    for flow in flows {
        for function in applied(flow) {
            let name = FunctionName::parse(function);
            if name.is_ok_and(|name| !known.contains(&name) && name.name() != FLOWS_FUNCTION) {
                missing.insert(function.to_owned(), flow.name().to_string());
            }
        }
    }
    let warning = |(function, flow): (String, String)| {
        format!("flow {flow} applies function `{function}`, {why}; its calls will fail")
    };
    missing.into_iter().map(warning).collect()
}

/// The functions that a flow calls, wherever in it.
fn applied(flow: &Flow) -> Vec<&str> {
    let handlers = [flow.on_failure(), flow.finally()];
    let graphs = handlers.into_iter().flatten().chain([flow.graph()]);
    let mut nodes: Vec<&Vertex> = graphs.flat_map(|graph| &graph.nodes).collect();
    let mut names = Vec::new();
    while let Some(node) = nodes.pop() {
        if let Some(Fallback::Node(instead)) = &node.fallback {
            nodes.push(instead);
        }
        nodes.extend(node.compensate.as_deref());
        let mut operation = &node.operation;
        while let Operation::Expand(expand) = operation {
            operation = &expand.by;
        }
        match operation {
            Operation::Apply(apply) => names.push(apply.function.as_str()),
            Operation::ForEach(each) => nodes.extend(&each.body.nodes),
            Operation::Loop(looped) => nodes.extend(&looped.body.nodes),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_wherever_a_flow_calls_them() {
        let flow = turlough_sdk::read_yaml(
            "flow: all
nodes:
  a: { apply: one, fallback: { apply: two }, compensate: { apply: three } }
  b: { for_each: { body: { nodes: { c: { apply: four } } } } }
  d: { loop: { while: ., max_iterations: 2, body: { nodes: { e: { apply: five } } } } }
  f: { expand: { apply: six } }
on_failure: { nodes: { g: { apply: seven } } }
finally: { nodes: { h: { apply: eight } } }
",
        );
        let flow = flow.unwrap_or_else(|error| panic!("{error}"));
        let mut found = applied(&flow);
        found.sort_unstable();
        let all = [
            "eight", "five", "four", "one", "seven", "six", "three", "two",
        ];
        assert_eq!(found, all);
    }
}
