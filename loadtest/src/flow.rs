//! The flows that are measured, as YAML. Each step answers a number with the next one, so that the
//! output tells how many ran.

use std::fmt::Write as _;

/// What a step of a chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A call, which waits for what released it to be recorded.
    Apply,
    /// A call that leaves no trace and does not wait.
    Pure,
    /// A jq expression in the flow-function itself.
    Pass,
}

impl Step {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Pure => "pure",
            Self::Pass => "pass",
        }
    }

    fn operation(self, noop: &str) -> String {
        match self {
            Self::Apply => format!("apply: {noop}"),
            Self::Pure => format!("apply: {noop}, pure: true"),
            Self::Pass => "pass: \". + 1\"".to_owned(),
        }
    }
}

/// A flow's name, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlowText {
    pub(crate) name: String,
    pub(crate) yaml: String,
}

/// So many steps, one after the other.
pub(crate) fn chain(step: Step, steps: u64, noop: &str) -> FlowText {
    let name = format!("loadtest-chain-{}-{steps}", step.name());
    let operation = step.operation(noop);
    let mut yaml = format!("flow: {name}\ntimeout: 1h\nnodes:\n  s1: {{ {operation} }}\n");
    for n in 2..=steps {
        // Writing to a String cannot fail.
        let _ = writeln!(yaml, "  s{n}: {{ after: [s{}], {operation} }}", n - 1);
    }
    FlowText { name, yaml }
}

/// One call per item of the input, so many side by side.
pub(crate) fn fanout(max_parallel: u64, noop: &str) -> FlowText {
    let name = format!("loadtest-fanout-{max_parallel}");
    let yaml = format!(
        "flow: {name}\ntimeout: 1h\nnodes:\n  all:\n    for_each:\n      \
         max_parallel: {max_parallel}\n      \
         body: {{ nodes: {{ call: {{ apply: {noop} }} }} }}\n"
    );
    FlowText { name, yaml }
}

/// A request of it sleeps until it is cancelled.
pub(crate) fn sleeper() -> FlowText {
    FlowText {
        name: "loadtest-sleeper".to_owned(),
        yaml: "flow: loadtest-sleeper\ntimeout: 24h\nnodes:\n  ask: { wait: { signal: go } }\n"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_its_steps_in_a_row() {
        let flow = chain(Step::Pure, 3, "noop");
        assert_eq!(
            flow.yaml,
            "flow: loadtest-chain-pure-3\ntimeout: 1h\nnodes:\n  \
             s1: { apply: noop, pure: true }\n  \
             s2: { after: [s1], apply: noop, pure: true }\n  \
             s3: { after: [s2], apply: noop, pure: true }\n"
        );
        assert_eq!(chain(Step::Pass, 1, "noop").yaml.lines().count(), 4);
    }
}
