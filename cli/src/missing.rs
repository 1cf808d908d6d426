//! Functions that flows apply and no stack has: no mistake by itself, since they may run elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use turlough_gateway::{FunctionName, StackFunction};
use turlough_sdk::{Flow, Graph, Operation};

/// The function that serves the YAML flows.
pub(crate) const FLOWS_FUNCTION: &str = "flows";

/// A warning for each function that is applied and neither among `functions` nor the one that serves
/// the flows.
pub(crate) fn warnings<'a>(
    functions: impl IntoIterator<Item = &'a StackFunction>,
    flows: &[Flow],
) -> Vec<String> {
    let known: BTreeSet<_> = functions.into_iter().map(|f| f.spec.name.clone()).collect();
    let mut missing = BTreeMap::new();
    for flow in flows {
        for function in applied(flow.graph()) {
            let name = FunctionName::parse(function);
            if name.is_ok_and(|name| !known.contains(&name) && name.name() != FLOWS_FUNCTION) {
                missing.insert(function.to_owned(), flow.name().to_string());
            }
        }
    }
    let warning = |(function, flow): (String, String)| {
        format!(
            "flow {flow} applies function `{function}`, which no stack here has; its calls will fail"
        )
    };
    missing.into_iter().map(warning).collect()
}

fn applied(graph: &Graph) -> Vec<&str> {
    let mut names = Vec::new();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        for node in &graph.nodes {
            match &node.operation {
                Operation::Apply(apply) => names.push(apply.function.as_str()),
                Operation::ForEach(each) => graphs.push(&each.body),
                _ => {}
            }
        }
    }
    names
}
