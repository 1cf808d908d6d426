//! What runs inside the nodes of a flow, counted: items of a `for_each`, iterations of a `loop`,
//! steps of an `expand`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value as Json;

use crate::amount;
use crate::platform::StepEnded;

#[derive(Debug, Default)]
pub(super) struct Inside {
    /// By `for_each`, the nodes whose end is an item's end.
    last_nodes: HashMap<String, HashSet<String>>,
    /// By node, what runs in it now.
    running: BTreeMap<String, Count>,
}

#[derive(Debug)]
enum Count {
    Items {
        all: usize,
        done: HashSet<String>,
    },
    /// The latest in which a step ended; that the condition holds is no iteration yet.
    Iterations(usize),
    Steps(usize),
}

impl Inside {
    /// For a flow as `GET /flows/<flow>` gives it.
    pub(super) fn of(flow: &Json) -> Self {
        let nodes = flow["graph"]["nodes"].as_array();
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
            running: BTreeMap::new(),
        }
    }

    /// Counts an end, if it is one that is counted.
    pub(super) fn take(&mut self, ended: &StepEnded) {
        let step = ended.step.as_str();
        if !step.contains(['[', '#', '/']) {
            self.begin(step, ended);
            return;
        }
        if ended.status != "succeeded" {
            return;
        }
        let node = step.split(['[', '#', '/']).next().unwrap_or_default();
        match self.running.get_mut(node) {
            Some(Count::Items { done, .. }) => {
                let inner = step[node.len()..]
                    .strip_prefix('[')
                    .and_then(|i| i.split_once("]/"));
                let last = self.last_nodes.get(node);
                if let Some((index, inner)) = inner
                    && last.is_some_and(|last| last.contains(inner))
                {
                    done.insert(index.to_owned());
                }
            }
            Some(Count::Steps(count)) => *count += 1,
            Some(Count::Iterations(count)) => {
                let inner = step[node.len()..].strip_prefix('#');
                let number = inner.and_then(|inner| inner.split('/').next()?.parse().ok());
                *count = number.unwrap_or(0).max(*count);
            }
            None => {}
        }
    }

    fn begin(&mut self, node: &str, ended: &StepEnded) {
        if ended.status != "running" {
            return;
        }
        if let Some(all) = ended.items {
            let done = HashSet::new();
            self.running
                .insert(node.to_owned(), Count::Items { all, done });
        } else if ended.again == Some(true) {
            let running = self.running.entry(node.to_owned());
            running.or_insert(Count::Iterations(0));
        } else if ended.graph_bytes.is_some() {
            self.running.insert(node.to_owned(), Count::Steps(0));
        }
    }

    /// What ran in a node that has ended; none where nothing did.
    pub(super) fn ended(&mut self, node: &str) -> Option<String> {
        Some(match self.running.remove(node)? {
            Count::Items { .. } => String::new(),
            Count::Iterations(count) => format!(" after {}", amount::count(count, "iteration")),
            Count::Steps(count) => format!(" after {}", amount::count(count, "step")),
        })
    }

    /// `months 2/12`, `poll #3`, `build 40 steps`.
    pub(super) fn counts(&self) -> impl Iterator<Item = String> {
        self.running.iter().map(|(node, count)| match count {
            Count::Items { all, done } => format!("{node} {}/{all}", done.len()),
            Count::Iterations(count) => format!("{node} #{count}"),
            Count::Steps(count) => format!("{node} {}", amount::count(*count, "step")),
        })
    }
}
