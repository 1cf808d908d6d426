//! The operations of a draft: what they call is parsed, what they compute is compiled.

use std::sync::Arc;
use std::time::Duration;

use super::{At, Check, Limits};
use crate::draft::{DraftApply, DraftEdge, DraftGraph, DraftOperation, Located};
use crate::duration::{DURATION_MAX, format_duration};
use crate::expression::Expression;
use crate::graph::{Apply, Case, ForEach, Operation, Switch};

impl Check {
    pub(super) fn operation(
        &mut self,
        draft: DraftOperation,
        at: At<'_>,
        edges: &mut Vec<DraftEdge>,
    ) -> Operation {
        let operation = match draft {
            DraftOperation::Apply(apply) => self.apply(apply, at),
            DraftOperation::Map(map) => Some(Operation::Map(map)),
            DraftOperation::Pass(jq) => self.expression(&jq, at).map(Operation::Pass),
            DraftOperation::Switch(cases) => Some(self.switch(cases, at)),
            DraftOperation::ForEach {
                items,
                body,
                parallel_max,
            } => Some(self.for_each(items, body, parallel_max, at, edges)),
        };
        // What was refused stands as something harmless, so that the other problems are found.
        operation.unwrap_or(Operation::Switch(Switch { cases: Vec::new() }))
    }

    fn for_each(
        &mut self,
        items: Option<Located>,
        body: DraftGraph,
        parallel_max: Option<usize>,
        at: At<'_>,
        edges: &mut Vec<DraftEdge>,
    ) -> Operation {
        let items = items.and_then(|jq| self.expression(&jq, at));
        let parallel_max = parallel_max.unwrap_or(Limits::PARALLEL_DEFAULT);
        if parallel_max == 0 || parallel_max > Limits::PARALLEL_MAX {
            let limit = Limits::PARALLEL_MAX;
            let text = format!("max_parallel is {parallel_max}; write 1 to {limit}");
            self.problem(at, text);
        }
        self.owners.push((at.node.to_owned(), at.line));
        let (body, captures) = self.graph(body, edges.len());
        self.owners.pop();
        edges.extend(captures);
        Operation::ForEach(ForEach {
            items,
            body: Arc::new(body),
            parallel_max,
        })
    }

    fn expression(&mut self, jq: &Located, at: At<'_>) -> Option<Expression> {
        if let Some(known) = self.compiled.get(&jq.text) {
            return Some(known.clone());
        }
        match Expression::compile(&jq.text) {
            Ok(expression) => {
                self.compiled.insert(jq.text.clone(), expression.clone());
                Some(expression)
            }
            Err(error) => {
                let line = jq.line.or(at.line);
                self.problems.add(line, Some(at.node), || error.to_string());
                None
            }
        }
    }

    fn switch(&mut self, cases: Vec<Option<Located>>, at: At<'_>) -> Operation {
        if cases.is_empty() || cases.len() > Limits::CASES_MAX {
            let (found, limit) = (cases.len(), Limits::CASES_MAX);
            self.problem(at, format!("switch has {found} cases; write 1 to {limit}"));
        }
        let last = cases.len().saturating_sub(1);
        if cases.iter().take(last).any(Option::is_none) {
            let text = "the default stands before other cases; write it once, and last";
            self.problem(at, text.to_owned());
        }
        let mut compile = |case: Option<Located>| Case {
            when: case.and_then(|jq| self.expression(&jq, at)),
        };
        let cases = cases.into_iter().map(&mut compile).collect();
        Operation::Switch(Switch { cases })
    }

    fn apply(&mut self, draft: DraftApply, at: At<'_>) -> Option<Operation> {
        let function = draft.function.parse().map_err(|error: crate::IdError| {
            self.problem(at, error.to_string());
        });
        let method = draft.method.unwrap_or_else(|| "POST".to_owned());
        const METHODS: [&str; 7] = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        if !METHODS.contains(&method.as_str()) {
            let known = METHODS.join(", ");
            let text = format!("method {method:?} is unknown; write one of {known}");
            self.problem(at, text);
        }
        let path = draft.path.unwrap_or_default();
        let clean = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !clean || !(path.is_empty() || path.starts_with(['/', '?'])) {
            let text = format!("path {path:?} is no URL path; begin it with / or ?, and escape it");
            self.problem(at, text);
        }
        self.headers(&draft.headers, at);
        let content_type = draft.content_type.as_deref();
        if let Some(found) = content_type
            && !matches!(found, "application/json" | "application/msgpack")
        {
            let known = "application/json or application/msgpack";
            let text = format!("content_type {found:?} is unknown; write {known}");
            self.problem(at, text);
        }
        Some(Operation::Apply(Apply {
            function: function.ok()?,
            method,
            path,
            headers: draft.headers,
            msgpack: content_type == Some("application/msgpack"),
        }))
    }

    fn headers(&mut self, headers: &[(String, String)], at: At<'_>) {
        for (name, value) in headers {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            let shown = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                let text =
                    format!("header name {name:?} is not allowed; write letters, digits and -");
                self.problem(at, text);
            } else if !value.bytes().all(shown) {
                let text =
                    format!("header {name}: {value:?} is not one line of plain text; mend it");
                self.problem(at, text);
            } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                let text = format!("header {name} is the platform's own; take it out");
                self.problem(at, text);
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        line: Option<u64>,
        node: Option<&str>,
        what: &str,
        found: Option<Duration>,
    ) {
        let Some(found) = found else { return };
        if found < Duration::from_micros(1) || found > DURATION_MAX {
            self.problems.add(line, node, || {
                format!(
                    "{what} is {found:?}; write 1us to {}",
                    format_duration(DURATION_MAX)
                )
            });
        }
    }
}

/// Headers that frame a message: one of an author's would break it.
const RESERVED_HEADERS: [&str; 5] = [
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "upgrade",
];
