//! How large a flow may be.

use std::time::Duration;

/// Bounds on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits;

impl Limits {
    /// Most nodes in a flow, bodies included: twice the longest chain that is tested.
    pub const NODES_MAX: usize = 20_000;
    /// Most edges in a flow, bodies included: ten for each node.
    pub const EDGES_MAX: usize = 200_000;
    /// Deepest nesting of bodies.
    pub const DEPTH_MAX: usize = 8;
    /// Most cases of one switch.
    pub const CASES_MAX: usize = 1_000;
    /// Most items of a `for_each` in progress at once.
    pub const PARALLEL_MAX: usize = 10_000;
    /// Items in progress at once where the flow does not say.
    pub const PARALLEL_DEFAULT: usize = 64;
    /// Most iterations of a `loop`: as many steps as a request may have nodes.
    pub const ITERATIONS_MAX: u32 = 100_000;
    /// Most requests of a flow that a replica may be told to drive at once: more than fit.
    pub const CONCURRENCY_MAX: usize = 100_000;
    /// Longest text of a graph that is made at run time, in bytes: it goes into one append of the log.
    pub const GRAPH_BYTES_MAX: usize = 384 * 1024;
    /// Most closures that a flow may register for such graphs.
    pub const CLOSURES_MAX: usize = 1_000;
    /// Most variables that one node sets: each is an expression on its output.
    pub const VARIABLES_MAX: usize = 64;
    /// Most headers of a call, and of a caller that are recorded.
    pub const HEADERS_MAX: usize = 100;
    /// Most query parameters of a call.
    pub const QUERY_MAX: usize = 100;
    /// Longest name of a header or a query parameter, in bytes.
    pub const NAME_BYTES_MAX: usize = 256;
    /// Longest name of a node or a variable, in bytes.
    pub const NODE_NAME_BYTES_MAX: usize = 63;
    /// Longest path, URL, header or query parameter, in bytes: what servers commonly take as a line.
    pub const TEXT_BYTES_MAX: usize = 8 * 1024;
    /// How long a request may take where the flow does not say.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
}
