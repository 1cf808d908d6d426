//! Finds a cycle in a graph, in time linear in nodes + edges.

use std::collections::{HashMap, VecDeque};

use crate::graph::{Edge, NodeIx, Source, Vertex};

/// A cycle, each node before the one that waits for it; `visits` grows by the nodes and edges seen.
pub(super) fn find(
    nodes: &[Vertex],
    successors: &[Vec<(NodeIx, usize)>],
    visits: &mut u64,
) -> Option<Vec<NodeIx>> {
    let waits = waits_after_peeling(nodes, successors, visits);
    let stuck = |ix: &NodeIx| waits[*ix] > 0;
    // Each node that is left waits for another that is left, so walking back must meet itself.
    let mut at = (0..nodes.len()).find(stuck)?;
    let mut order = Vec::new();
    let mut place: HashMap<NodeIx, usize> = HashMap::new();
    while !place.contains_key(&at) {
        place.insert(at, order.len());
        order.push(at);
        at = nodes[at].edges.iter().find_map(|edge| match edge.from {
            Source::Node(from) if stuck(&from) => Some(from),
            _ => None,
        })?;
    }
    let mut cycle = order.split_off(place[&at]);
    cycle.reverse();
    Some(cycle)
}

/// Takes away what has nothing before it, again and again: how many edges each node still waits for.
fn waits_after_peeling(
    nodes: &[Vertex],
    successors: &[Vec<(NodeIx, usize)>],
    visits: &mut u64,
) -> Vec<usize> {
    let before = |edge: &&Edge| matches!(edge.from, Source::Node(_));
    let mut waits: Vec<_> = nodes
        .iter()
        .map(|node| node.edges.iter().filter(before).count())
        .collect();
    let mut free: VecDeque<_> = (0..nodes.len()).filter(|ix| waits[*ix] == 0).collect();
    while let Some(ix) = free.pop_front() {
        *visits += 1;
        for (next, _) in &successors[ix] {
            *visits += 1;
            waits[*next] -= 1;
            if waits[*next] == 0 {
                free.push_back(*next);
            }
        }
    }
    waits
}
