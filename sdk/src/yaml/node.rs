//! Nodes: their edges, and what may be said of any of them.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::notation::{ActionYaml, AfterYaml, NodeYaml, RetryYaml, Words};
use super::scalar::{TextOr, as_written};
use super::{At, Branch, Reader, located};
use crate::closure::Cause;
use crate::draft::{DraftEdge, DraftFallback, DraftFormula, DraftNode, DraftSource};
use crate::duration::parse_duration;
use crate::retry::Retry;
use crate::value::Value;

impl Reader<'_> {
    pub(super) fn node(
        &mut self,
        at: At<'_>,
        mut yaml: NodeYaml,
        branches: &mut Vec<Branch>,
    ) -> DraftNode {
        let after = yaml.after.take().unwrap_or_default();
        let edges = after.into_iter().map(|after| self.edge(after, at));
        let edges = edges.collect();
        let retry = yaml.retry.take().and_then(|retry| self.retry(retry, at));
        let timeout = yaml.timeout.take();
        let timeout = timeout.and_then(|text| self.duration("timeout", &text, Some(at.id)));
        let fallback = yaml.fallback.take();
        let fallback = fallback.and_then(|action| self.fallback(*action, at));
        let compensate = yaml.compensate.take();
        let compensate =
            compensate.and_then(|action| self.stand_in("compensate", *action, at).map(Box::new));
        let formula = |jq| DraftFormula::Jq(located(jq));
        let set = yaml.set.take().unwrap_or_default().into_iter();
        DraftNode {
            id: at.id.to_owned(),
            line: Some(at.line),
            edges,
            aggregate: yaml.aggregate.take().map(formula),
            when: yaml.when.take().map(formula),
            retry,
            timeout,
            idempotent: yaml.idempotent,
            pure: yaml.pure,
            fallback,
            compensate,
            set: set.map(|(name, jq)| (name, located(jq))).collect(),
            operation: self.operation(at, yaml, branches),
        }
    }

    fn edge(&mut self, after: Spanned<TextOr<AfterYaml>>, at: At<'_>) -> DraftEdge {
        let (line, place) = (after.referenced.line(), after.defined);
        let (name, data, transform) = match after.value {
            TextOr::Text(name) => (name, true, None),
            TextOr::Unquoted(found) => (as_written(self.source, place, found), true, None),
            TextOr::Map(AfterYaml {
                node,
                data,
                transform,
            }) => (node.value, data.unwrap_or(true), transform),
        };
        let from = match name.as_str() {
            "input" => DraftSource::Input(0),
            "item" => {
                if at.depth == 0 {
                    let text = "it comes after item, which stands for the item of a for_each or \
                                the state of a loop, and it is in no body; write input, or a node";
                    self.problem(line, at.id, text.to_owned());
                }
                DraftSource::Input(at.depth)
            }
            _ => DraftSource::Node(name),
        };
        DraftEdge {
            data,
            transform: transform.map(|jq| DraftFormula::Jq(located(jq))),
            ..DraftEdge::new(from, None, Some(line))
        }
    }

    fn fallback(&mut self, mut action: Spanned<ActionYaml>, at: At<'_>) -> Option<DraftFallback> {
        let Some(value) = action.value.value.take() else {
            let node = self.stand_in("fallback", action, at)?;
            return Some(DraftFallback::Node(Box::new(node)));
        };
        let line = action.referenced.line();
        if !action.value.is_empty() {
            let text = "its fallback has other keys beside value; write the value alone, or an \
                        operation";
            self.problem(line, at.id, text.to_owned());
        }
        let encoded = Value::encode(&value);
        let told = |error| self.problem(line, at.id, format!("its fallback: {error}"));
        encoded.map_err(told).map(DraftFallback::Constant).ok()
    }

    /// A fallback that is an operation, or a compensation.
    fn stand_in(
        &mut self,
        role: &str,
        action: Spanned<ActionYaml>,
        at: At<'_>,
    ) -> Option<DraftNode> {
        let line = action.referenced.line();
        let mut action = action.value;
        let at = At { line, ..at };
        let retry = action.retry.take().and_then(|retry| self.retry(retry, at));
        let timeout = action.timeout.take();
        let timeout = timeout.and_then(|text| self.duration("timeout", &text, Some(at.id)));
        let idempotent = action.idempotent.take();
        let operation = self.action(role, action, at)?;
        Some(DraftNode {
            line: Some(line),
            retry,
            timeout,
            idempotent,
            ..DraftNode::new(at.id, operation, Vec::new())
        })
    }

    fn retry(&mut self, yaml: RetryYaml, at: At<'_>) -> Option<Retry> {
        let backoff = match &yaml.backoff {
            Some(backoff) => self.backoff(backoff, at)?,
            None => (Duration::from_millis(100), Duration::from_secs(10)),
        };
        let retry = Retry::exponential(yaml.attempts, backoff.0..backoff.1);
        let Some(on) = yaml.on else {
            return Some(retry);
        };
        let causes: Vec<_> = on.into_iter().map(|word| self.cause(&word, at)).collect();
        let causes: Option<Vec<_>> = causes.into_iter().collect();
        Some(retry.on(&causes?))
    }

    fn backoff(&mut self, text: &Words, at: At<'_>) -> Option<(Duration, Duration)> {
        let whole = text.value.as_str();
        let (from, to) = whole.split_once("..").unwrap_or((whole, whole));
        match (parse_duration(from), parse_duration(to)) {
            (Ok(from), Ok(to)) => Some((from, to)),
            (Err(message), _) | (_, Err(message)) => {
                let line = text.referenced.line();
                self.problem(line, at.id, format!("backoff: {message}"));
                None
            }
        }
    }

    fn cause(&mut self, word: &Words, at: At<'_>) -> Option<Cause> {
        let mut known = Retry::CAUSES.into_iter();
        let cause = known.find_map(|(name, cause)| (name == word.value).then_some(cause));
        if cause.is_none() {
            let found: String = word.value.chars().take(80).collect();
            let known = Retry::CAUSES.map(|(name, _)| name).join(", ");
            let text = format!("retry on {found:?} is unknown; write one of {known}");
            self.problem(word.referenced.line(), at.id, text);
        }
        cause
    }
}
