//! The operations of a draft: what they call is parsed, what they compute is compiled.

use std::sync::Arc;
use std::time::Duration;

use super::{At, Check, Limits};
use crate::draft::{DraftEdge, DraftFormula, DraftGraph, DraftOperation, DraftWait, Located};
use crate::duration::{DURATION_MAX, format_duration};
use crate::error::choice;
use crate::expression::Expression;
use crate::graph::{Case, Expand, ForEach, Formula, Graph, Loop, Operation, Switch, Wait};

impl Check<'_> {
    /// Nothing where it was refused; `edges` grow by what a body takes from outside.
    pub(super) fn operation(
        &mut self,
        draft: DraftOperation,
        at: At<'_>,
        edges: &mut Vec<DraftEdge>,
    ) -> Option<Operation> {
        match draft {
            DraftOperation::Apply(apply) => self.apply(apply, at),
            DraftOperation::Map(map) => Some(Operation::Map(map)),
            DraftOperation::Named(name) => self.named(&name, at),
            DraftOperation::Http(http) => self.http(http, at),
            DraftOperation::Pass(jq) => self.expression(&jq, at).map(Operation::Pass),
            DraftOperation::Switch { cases, all } => Some(self.switch(cases, all, at)),
            DraftOperation::ForEach {
                items,
                body,
                parallel_max,
                collect,
            } => {
                let items = items.map(|jq| self.expression(&jq, at));
                let parallel_max = self.parallel(parallel_max, at);
                let body = self.body(body, at, edges);
                Some(Operation::ForEach(ForEach {
                    items: items.flatten(),
                    body,
                    parallel_max,
                    collect,
                }))
            }
            DraftOperation::Loop {
                body,
                again,
                iterations_max,
            } => {
                let iterations_max = self.iterations(iterations_max, at);
                let again = self.formula(again, at);
                let body = self.body(body, at, edges);
                Some(Operation::Loop(Loop {
                    body,
                    again: again?,
                    iterations_max,
                }))
            }
            DraftOperation::Expand(by) => self.expand(*by, at),
            DraftOperation::Flow(name) => self.id(&name, at).map(Operation::Flow),
            DraftOperation::Wait(wait) => self.wait(wait, at).map(Operation::Wait),
        }
    }

    fn body(&mut self, body: DraftGraph, at: At<'_>, edges: &mut Vec<DraftEdge>) -> Arc<Graph> {
        self.owners.push((at.node.to_owned(), at.line));
        let (body, captures) = self.graph(body, edges.len());
        self.owners.pop();
        edges.extend(captures);
        Arc::new(body)
    }

    fn parallel(&mut self, draft: Option<usize>, at: At<'_>) -> usize {
        let parallel_max = draft.unwrap_or(Limits::PARALLEL_DEFAULT);
        if parallel_max == 0 || parallel_max > Limits::PARALLEL_MAX {
            let limit = Limits::PARALLEL_MAX;
            let text = format!("max_parallel is {parallel_max}; write 1 to {limit}");
            self.problem(at, text);
        }
        parallel_max
    }

    fn iterations(&mut self, draft: Option<u32>, at: At<'_>) -> u32 {
        let limit = Limits::ITERATIONS_MAX;
        let Some(found) = draft else {
            let text = format!("loop has no bound; write max_iterations: 1 to {limit}");
            self.problem(at, text);
            return 1;
        };
        if found == 0 || found > limit {
            let text = format!("max_iterations is {found}; write 1 to {limit}");
            self.problem(at, text);
        }
        found
    }

    fn expand(&mut self, by: DraftOperation, at: At<'_>) -> Option<Operation> {
        let fits = match &by {
            DraftOperation::Apply(apply) => !apply.asynchronous && !apply.by_reference,
            DraftOperation::Map(_) | DraftOperation::Named(_) | DraftOperation::Pass(_) => true,
            _ => false,
        };
        if !fits {
            let text = "expand has its graph made by a synchronous apply that is sent its input, a \
                        map or a pass; write expand: { apply: FUNCTION }, and for another operation \
                        a node before it";
            self.problem(at, text.to_owned());
            return None;
        }
        let by = self.operation(by, at, &mut Vec::new())?;
        Some(Operation::Expand(Expand { by: Box::new(by) }))
    }

    /// A closure that is registered with the flow.
    fn named(&mut self, name: &Located, at: At<'_>) -> Option<Operation> {
        let Located { text: name, line } = name;
        let closures = self.closures;
        if let Some(map) = closures.and_then(|known| known.get(name)) {
            return Some(Operation::Map(map.clone()));
        }
        let shown: String = name.chars().take(80).collect();
        let text = match closures {
            None => "map runs a Rust closure, which YAML cannot hold; write the flow in Rust, or \
                     apply: FUNCTION"
                .to_owned(),
            Some(known) if known.is_empty() => {
                format!("map {shown:?} is unknown: the flow registers no closures; write apply")
            }
            Some(known) => {
                let known = choice(known.keys().map(String::as_str));
                format!("map {shown:?} is unknown; write one of {known}")
            }
        };
        self.problems.add(line.or(at.line), Some(at.node), || text);
        None
    }

    fn wait(&mut self, draft: DraftWait, at: At<'_>) -> Option<Wait> {
        match draft {
            DraftWait::Signal(name) => self.id(&name, at).map(Wait::Signal),
            DraftWait::Until(jq) => self.expression(&jq, at).map(Wait::Until),
            DraftWait::Duration(duration) => {
                self.duration(at.line, Some(at.node), "wait", Some(duration));
                Some(Wait::Duration(duration))
            }
        }
    }

    fn id<T: std::str::FromStr<Err = crate::IdError>>(
        &mut self,
        name: &Located,
        at: At<'_>,
    ) -> Option<T> {
        let parsed = name.text.parse();
        let refused = |error: crate::IdError| {
            let line = name.line.or(at.line);
            self.problems.add(line, Some(at.node), || error.to_string());
        };
        parsed.map_err(refused).ok()
    }

    pub(super) fn formula(&mut self, draft: DraftFormula, at: At<'_>) -> Option<Formula> {
        match draft {
            DraftFormula::Jq(jq) => self.expression(&jq, at).map(Formula::Jq),
            DraftFormula::Closure(map) => Some(Formula::Closure(map)),
        }
    }

    pub(super) fn expression(&mut self, jq: &Located, at: At<'_>) -> Option<Expression> {
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

    fn switch(&mut self, cases: Vec<Option<DraftFormula>>, all: bool, at: At<'_>) -> Operation {
        if cases.is_empty() || cases.len() > Limits::CASES_MAX {
            let (found, limit) = (cases.len(), Limits::CASES_MAX);
            self.problem(at, format!("switch has {found} cases; write 1 to {limit}"));
        }
        let last = cases.len().saturating_sub(1);
        if cases.iter().take(last).any(Option::is_none) {
            let text = "the default stands before other cases; write it once, and last";
            self.problem(at, text.to_owned());
        }
        let mut compile = |case: Option<DraftFormula>| Case {
            when: case.and_then(|formula| self.formula(formula, at)),
        };
        let cases = cases.into_iter().map(&mut compile).collect();
        Operation::Switch(Switch { cases, all })
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
