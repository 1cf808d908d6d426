//! Stands in for what the sdk does not have yet.

/// What tells two versions of a node apart.
pub(crate) fn node_fingerprint(graph: &turlough_sdk::Graph, node: usize) -> String {
    let vertex = &graph.nodes[node];
    let edges: Vec<_> = vertex.edges.iter().map(|e| (&e.name, e.case, e.capture, e.data)).collect();
    format!(
        "{:?} {:?} {edges:?} {:?} {:?} {:?} {:?} {} {} {:?} {:?}",
        vertex.id,
        vertex.operation,
        vertex.aggregate,
        vertex.when,
        vertex.retry,
        vertex.timeout,
        vertex.idempotent,
        vertex.pure,
        vertex.fallback,
        vertex.compensate,
    )
}
