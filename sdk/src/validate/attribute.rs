//! What may be said of any node: what it promises, what takes its place, what undoes it, and which
//! variables it sets.

use super::{At, Check, Limits};
use crate::draft::{DraftFallback, DraftNode, DraftOperation, Located};
use crate::expression::Expression;
use crate::graph::{Fallback, Operation, Vertex};
use crate::retry::Retry;

/// What the author says of a node's calls.
pub(super) struct Promise {
    pub(super) idempotent: Option<bool>,
    pub(super) pure: Option<bool>,
    pub(super) compensated: bool,
}

impl Check<'_> {
    /// Whether a node is idempotent, and whether it is pure.
    pub(super) fn promise(
        &mut self,
        said: &Promise,
        operation: &Operation,
        retry: &Retry,
        at: At<'_>,
    ) -> (bool, bool) {
        let pure = said.pure == Some(true);
        if let Operation::Http(http) = operation
            && !matches!(http.method.as_str(), "GET" | "HEAD")
            && said.idempotent.is_none()
            && !pure
        {
            let text = format!(
                "http by {} may change what it calls; write idempotent: true where calling twice \
                 does no harm, otherwise idempotent: false",
                http.method
            );
            self.problem(at, text);
        }
        if said.idempotent == Some(false) {
            self.refuse_repetition(operation, retry, pure, at);
        }
        if pure && said.compensated {
            let text = "pure: true leaves nothing that compensate could undo; take one of them out";
            self.problem(at, text.to_owned());
        }
        if pure && operation.is_remote() {
            let text = "pure: true may be called ahead and again, and what somebody else completes \
                        may not; take pure out";
            self.problem(at, text.to_owned());
        }
        let free = matches!(
            operation,
            Operation::Pass(_) | Operation::Switch(_) | Operation::Wait(_)
        );
        let pure = said.pure.unwrap_or(free && !said.compensated);
        (said.idempotent.unwrap_or(true), pure)
    }

    /// What does not go with `idempotent: false`.
    fn refuse_repetition(&mut self, operation: &Operation, retry: &Retry, pure: bool, at: At<'_>) {
        if !matches!(
            operation,
            Operation::Apply(_) | Operation::Http(_) | Operation::Map(_) | Operation::Flow(_)
        ) {
            let name = operation.name();
            let text = format!(
                "idempotent: false is said of what is called, and {name} calls nothing itself; \
                 write it on an apply, http, map or flow"
            );
            self.problem(at, text);
        }
        if retry.attempts() != 1 {
            let text = "retry calls again, and idempotent: false forbids it; take one of them out";
            self.problem(at, text.to_owned());
        }
        if let Operation::Apply(apply) = operation
            && apply.asynchronous
        {
            let text = "mode: async may deliver a call twice, and idempotent: false forbids it; \
                        write mode: sync";
            self.problem(at, text.to_owned());
        }
        if pure {
            let text = "pure: true may be called again, and idempotent: false forbids it; take one \
                        of them out";
            self.problem(at, text.to_owned());
        }
    }

    pub(super) fn fallback(&mut self, draft: DraftFallback, at: At<'_>) -> Option<Fallback> {
        match draft {
            DraftFallback::Constant(value) => Some(Fallback::Constant(value)),
            DraftFallback::Node(draft) => {
                let vertex = self.stand_in(*draft, "fallback", at)?;
                Some(Fallback::Node(Box::new(vertex)))
            }
        }
    }

    /// A fallback or a compensation: it stands in the node's place, under its name.
    pub(super) fn stand_in(
        &mut self,
        draft: DraftNode,
        role: &str,
        owner: At<'_>,
    ) -> Option<Vertex> {
        self.visits += 1;
        let at = At {
            line: draft.line.or(owner.line),
            ..owner
        };
        let of_the_node = [
            ("after", !draft.edges.is_empty()),
            ("aggregate", draft.aggregate.is_some()),
            ("when", draft.when.is_some()),
            ("pure", draft.pure.is_some()),
            ("fallback", draft.fallback.is_some()),
            ("compensate", draft.compensate.is_some()),
            ("set", !draft.set.is_empty()),
        ];
        let of_the_node = of_the_node.iter().filter(|(_, said)| *said);
        let of_the_node: Vec<_> = of_the_node.map(|(key, _)| *key).collect();
        if !of_the_node.is_empty() {
            let found = of_the_node.join(", ");
            let text = format!("its {role} has {found}, which it cannot; take it out of {role}");
            self.problem(at, text);
        }
        if let Some(text) = draft.operation.unfit_stand_in() {
            let known = "write a synchronous apply, http, map or pass";
            self.problem(at, format!("its {role} is {text}; {known}"));
            return None;
        }
        let retry = self.retry(draft.retry, at);
        self.duration(at.line, Some(at.node), "timeout", draft.timeout);
        // It calls, and owns no body: nothing is captured.
        let operation = self.operation(draft.operation, at, &mut Vec::new())?;
        let said = Promise {
            idempotent: draft.idempotent,
            pure: None,
            compensated: false,
        };
        let (idempotent, _) = self.promise(&said, &operation, &retry, at);
        Some(Vertex {
            id: at.id(),
            operation,
            edges: Vec::new(),
            aggregate: None,
            when: None,
            retry,
            timeout: draft.timeout,
            idempotent,
            pure: false,
            fallback: None,
            compensate: None,
            set: Vec::new(),
        })
    }

    pub(super) fn retry(&mut self, draft: Option<Retry>, at: At<'_>) -> Retry {
        let retry = draft.unwrap_or(Retry::never());
        if let Some(text) = retry.problem() {
            self.problem(at, text);
        }
        retry
    }

    pub(super) fn set(
        &mut self,
        draft: Vec<(String, Located)>,
        at: At<'_>,
    ) -> Vec<(String, Expression)> {
        let (found, limit) = (draft.len(), Limits::VARIABLES_MAX);
        if found > limit {
            let text = format!("it sets {found} variables, limit {limit}; set one that holds them");
            self.problem(at, text);
            return Vec::new();
        }
        let mut set: Vec<(String, Expression)> = Vec::with_capacity(found);
        for (name, jq) in draft {
            if !is_identifier(&name) {
                let name: String = name.chars().take(80).collect();
                let text = format!(
                    "variable {name:?} is not allowed; write letters, digits and _, at most {}, no \
                     digit first",
                    Limits::NODE_NAME_BYTES_MAX
                );
                self.problem(at, text);
            } else if set.iter().any(|(earlier, _)| *earlier == name) {
                self.problem(at, format!("it sets {name} twice; set it once"));
            } else if let Some(jq) = self.expression(&jq, at) {
                set.push((name, jq));
            }
        }
        set
    }
}

impl DraftOperation {
    /// What it is, where it cannot stand in for a node.
    fn unfit_stand_in(&self) -> Option<&'static str> {
        match self {
            Self::Apply(apply) if apply.asynchronous => Some("an asynchronous apply"),
            Self::Apply(apply) if apply.by_reference => Some("an apply with data: reference"),
            Self::Http(http) if http.callback => Some("an http with a callback"),
            Self::Apply(_) | Self::Http(_) | Self::Map(_) | Self::Named(_) | Self::Pass(_) => None,
            Self::Switch { .. } => Some("a switch"),
            Self::ForEach { .. } => Some("a for_each"),
            Self::Loop { .. } => Some("a loop"),
            Self::Expand(_) => Some("an expand"),
            Self::Flow(_) => Some("a flow"),
            Self::Wait(_) => Some("a wait"),
        }
    }
}

/// A name that jq reads after `$vars.`.
fn is_identifier(name: &str) -> bool {
    name.len() <= Limits::NODE_NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
