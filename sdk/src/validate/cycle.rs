//! Finds a cycle in a graph, in time linear in nodes + edges.

use std::collections::{HashMap, VecDeque};

use crate::graph::{NodeIx, Source, Vertex};

/// A cycle of two or more nodes, each before the one that waits for it; edges of a node to itself
/// are passed over. `visits` grows by the nodes and edges seen.
pub(super) fn find(
    nodes: &[Vertex],
    successors: &[Vec<(NodeIx, usize)>],
    visits: &mut u64,
) -> Option<Vec<NodeIx>> {
    let waits = waits_after_peeling(successors, visits);
    let stuck = |ix: &NodeIx| waits[*ix] > 0;
    // Each node that is left waits for another that is left, so walking back must meet itself.
    let mut at = (0..nodes.len()).find(stuck)?;
    let mut order = Vec::new();
    let mut place: HashMap<NodeIx, usize> = HashMap::new();
    while !place.contains_key(&at) {
        place.insert(at, order.len());
        order.push(at);
        *visits += 1 + nodes[at].edges.len() as u64;
        at = nodes[at].edges.iter().find_map(|edge| match edge.from {
            Source::Node(from) if stuck(&from) && from != at => Some(from),
            _ => None,
        })?;
    }
    let mut cycle = order.split_off(place[&at]);
    cycle.reverse();
    Some(cycle)
}

/// Takes away what has nothing before it, again and again: how many edges each node still waits for.
fn waits_after_peeling(successors: &[Vec<(NodeIx, usize)>], visits: &mut u64) -> Vec<usize> {
    let mut waits = vec![0_usize; successors.len()];
    for (ix, next) in successors.iter().enumerate() {
        *visits += next.len() as u64;
        for (next, _) in next.iter().filter(|(next, _)| *next != ix) {
            waits[*next] += 1;
        }
    }
    let mut free: VecDeque<_> = (0..waits.len()).filter(|ix| waits[*ix] == 0).collect();
    while let Some(ix) = free.pop_front() {
        *visits += 1;
        for (next, _) in successors[ix].iter().filter(|(next, _)| *next != ix) {
            *visits += 1;
            waits[*next] -= 1;
            if waits[*next] == 0 {
                free.push_back(*next);
            }
        }
    }
    waits
}
