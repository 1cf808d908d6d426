//! The nodes of a flow by the paths of their steps, whatever the item or iteration.

use std::collections::HashMap;

use turlough_sdk::{Flow, Graph, Operation, StepPath, Vertex};

/// Absent: those of graphs that were made at run time.
#[derive(Debug, Default)]
pub(crate) struct Nodes<'a>(HashMap<String, &'a Vertex>);

impl<'a> Nodes<'a> {
    pub(crate) fn of(flow: Option<&'a Flow>) -> Self {
        let mut nodes = Self::default();
        if let Some(flow) = flow {
            nodes.add("", flow.graph());
            let handlers = [
                ("~on_failure/", flow.on_failure()),
                ("~finally/", flow.finally()),
            ];
            for (begin, graph) in handlers {
                if let Some(graph) = graph {
                    nodes.add(begin, graph);
                }
            }
        }
        nodes
    }

    fn add(&mut self, begin: &str, graph: &'a Graph) {
        for node in &graph.nodes {
            let path = format!("{begin}{}", node.id);
            if let Some(undo) = &node.compensate {
                self.0.insert(format!("{path}/~compensate"), undo);
            }
            let inside = format!("{path}/");
            match &node.operation {
                Operation::ForEach(each) => self.add(&inside, &each.body),
                Operation::Loop(looped) => self.add(&inside, &looped.body),
                _ => {}
            }
            self.0.insert(path, node);
        }
    }

    pub(super) fn find(&self, step: &StepPath) -> Option<&'a Vertex> {
        self.0.get(&node_path(step)).copied()
    }

    /// All of them, by what [`node_path`] makes of their steps' paths.
    pub(crate) fn all(self) -> impl Iterator<Item = (String, &'a Vertex)> {
        self.0.into_iter()
    }
}

/// The path of a step's node: `months/clean` for `months[3]/clean`.
pub(crate) fn node_path(step: &StepPath) -> String {
    let segments = step.as_str().split('/');
    let nodes = segments.map(|segment| segment.split(['[', '#']).next().unwrap_or_default());
    nodes.collect::<Vec<_>>().join("/")
}
