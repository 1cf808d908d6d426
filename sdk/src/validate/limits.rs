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
    /// How long a request may take where the flow does not say.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
}
