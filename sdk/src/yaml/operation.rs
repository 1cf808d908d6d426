//! Operations: exactly one in each node, and what goes with it.

use indexmap::IndexMap;
use serde_saphyr::Spanned;

use super::notation::{
    ActionYaml, CaseYaml, ForEachYaml, LoopYaml, NodeYaml, TextYaml, WaitYaml, Words,
};
use super::scalar::{TextOr, as_written};
use super::{At, Branch, Reader, located};
use crate::draft::{DraftApply, DraftFormula, DraftHttp, DraftOperation, DraftText, DraftWait};
use crate::duration::parse_duration;

/// Stands where no operation could be read; the problem is told.
fn nothing() -> DraftOperation {
    DraftOperation::Pass(".".into())
}

type Texts = Option<IndexMap<String, Spanned<TextOr<TextYaml>>>>;

impl Reader<'_> {
    pub(super) fn operation(
        &mut self,
        at: At<'_>,
        mut yaml: NodeYaml,
        branches: &mut Vec<Branch>,
    ) -> DraftOperation {
        let action = ActionYaml {
            value: None,
            apply: yaml.apply.take(),
            http: yaml.http.take(),
            map: yaml.map.take(),
            pass: yaml.pass.take(),
            method: yaml.method.take(),
            path: yaml.path.take(),
            query: yaml.query.take(),
            headers: yaml.headers.take(),
            content_type: yaml.content_type.take(),
            mode: yaml.mode.take(),
            data: yaml.data.take(),
            callback: yaml.callback.take(),
            retry: None,
            timeout: None,
            idempotent: None,
        };
        let present = [
            action.operations(),
            usize::from(yaml.switch.is_some()),
            usize::from(yaml.for_each.is_some()),
            usize::from(yaml.again.is_some()),
            usize::from(yaml.expand.is_some()),
            usize::from(yaml.flow.is_some()),
            usize::from(yaml.wait.is_some()),
        ];
        let found: usize = present.iter().sum();
        let all = "apply, http, pass, switch, for_each, loop, expand, flow and wait";
        if found != 1 {
            let text = if found == 0 {
                format!("it has no operation; write one of {all}")
            } else {
                format!("it has {found} operations; write one of {all}, and a node for each other")
            };
            self.problem(at.line, at.id, text);
            return nothing();
        }
        if yaml.matching.is_some() && yaml.switch.is_none() {
            let text = "match goes with switch; take it out";
            self.problem(at.line, at.id, text.to_owned());
        }
        if action.operations() == 0 {
            self.refuse_stray(&action, None, at);
        }
        match yaml {
            NodeYaml {
                switch: Some(cases),
                matching,
                ..
            } => self.switch(at, cases, matching, branches),
            NodeYaml {
                for_each: Some(each),
                ..
            } => self.for_each(at, *each),
            NodeYaml {
                again: Some(again), ..
            } => self.again(at, *again),
            NodeYaml {
                expand: Some(expand),
                ..
            } => self.expand(at, *expand),
            NodeYaml {
                flow: Some(flow), ..
            } => DraftOperation::Flow(located(flow)),
            NodeYaml {
                wait: Some(wait), ..
            } => self.wait(at, wait),
            _ => self.one_of(action, at),
        }
    }

    /// The operation of a fallback, a compensation or an expand.
    pub(super) fn action(
        &mut self,
        role: &str,
        action: ActionYaml,
        at: At<'_>,
    ) -> Option<DraftOperation> {
        if action.operations() == 1 {
            return Some(self.one_of(action, at));
        }
        let text = format!("its {role} is of another shape; write one of apply, http and pass");
        self.problem(at.line, at.id, text);
        None
    }

    /// Of an action that has exactly one operation.
    fn one_of(&mut self, action: ActionYaml, at: At<'_>) -> DraftOperation {
        match action {
            ActionYaml { apply: Some(_), .. } => self.apply(action, at),
            ActionYaml { http: Some(_), .. } => self.http(action, at),
            ActionYaml { pass: Some(_), .. } => {
                self.refuse_stray(&action, None, at);
                action
                    .pass
                    .map_or_else(nothing, |jq| DraftOperation::Pass(located(jq)))
            }
            ActionYaml { .. } => {
                self.refuse_stray(&action, None, at);
                let name = action.map.map(located);
                name.map_or_else(nothing, DraftOperation::Named)
            }
        }
    }

    /// Keys that go with another operation than `own`.
    fn refuse_stray(&mut self, action: &ActionYaml, own: Option<&str>, at: At<'_>) {
        const BOTH: &[&str] = &["apply", "http"];
        let keys = [
            ("method", action.method.is_some(), BOTH),
            ("path", action.path.is_some(), &["apply"]),
            ("query", action.query.is_some(), BOTH),
            ("headers", action.headers.is_some(), BOTH),
            ("content_type", action.content_type.is_some(), BOTH),
            ("mode", action.mode.is_some(), &["apply"]),
            ("data", action.data.is_some(), &["apply"]),
            ("callback", action.callback.is_some(), &["http"]),
        ];
        for (key, present, with) in keys {
            if present && own.is_none_or(|own| !with.contains(&own)) {
                let with = with.join(" and ");
                let text = format!("{key} goes with {with}; take it out");
                self.problem(at.line, at.id, text);
            }
        }
    }

    fn apply(&mut self, action: ActionYaml, at: At<'_>) -> DraftOperation {
        self.refuse_stray(&action, Some("apply"), at);
        let function = action.apply.map(|name| name.value).unwrap_or_default();
        let path = action.path.and_then(|path| self.text("path", path, at));
        let query = self.texts("query", action.query, at);
        let headers = self.texts("headers", action.headers, at);
        DraftOperation::Apply(DraftApply {
            function,
            method: action.method,
            path,
            query,
            headers,
            content_type: action.content_type,
            asynchronous: self.second(at, "mode", action.mode, ["sync", "async"]),
            by_reference: self.second(at, "data", action.data, ["body", "reference"]),
        })
    }

    fn http(&mut self, action: ActionYaml, at: At<'_>) -> DraftOperation {
        self.refuse_stray(&action, Some("http"), at);
        let url = action.http.and_then(|url| self.text("http", url, at));
        let query = self.texts("query", action.query, at);
        let headers = self.texts("headers", action.headers, at);
        let Some(url) = url else { return nothing() };
        DraftOperation::Http(DraftHttp {
            url,
            method: action.method,
            query,
            headers,
            content_type: action.content_type,
            callback: action.callback.unwrap_or(false),
        })
    }

    fn texts(&mut self, key: &str, texts: Texts, at: At<'_>) -> Vec<(String, DraftText)> {
        let texts = texts.unwrap_or_default().into_iter();
        texts
            .filter_map(|(name, text)| Some((name, self.text(key, text, at)?)))
            .collect()
    }

    fn text(
        &mut self,
        key: &str,
        text: Spanned<TextOr<TextYaml>>,
        at: At<'_>,
    ) -> Option<DraftText> {
        let (line, place) = (text.referenced.line(), text.defined);
        Some(match text.value {
            TextOr::Text(text) => DraftText::Literal(text),
            TextOr::Unquoted(found) => DraftText::Literal(as_written(self.source, place, found)),
            TextOr::Map(TextYaml {
                jq: Some(jq),
                secret: None,
            }) => DraftText::Jq(located(jq)),
            TextOr::Map(TextYaml {
                jq: None,
                secret: Some(name),
            }) => DraftText::Secret(name.value),
            TextOr::Map(_) => {
                let text = format!(
                    "{key} is of another shape; write a text, {{ jq: EXPRESSION }} or \
                     {{ secret: NAME }}"
                );
                self.problem(line, at.id, text);
                return None;
            }
        })
    }

    fn switch(
        &mut self,
        at: At<'_>,
        cases: Vec<Spanned<CaseYaml>>,
        matching: Option<Words>,
        branches: &mut Vec<Branch>,
    ) -> DraftOperation {
        let mut conditions = Vec::with_capacity(cases.len());
        for (case, spanned) in cases.into_iter().enumerate() {
            let line = spanned.referenced.line();
            let (when, to) = match spanned.value {
                CaseYaml {
                    when: Some(when),
                    to: Some(to),
                    default: None,
                } => (Some(when), to),
                CaseYaml {
                    when: None,
                    to: None,
                    default: Some(to),
                } => (None, to),
                _ => {
                    let text = "a case of switch is of another shape; write \
                                { when: JQ, to: NODE } or { default: NODE }";
                    self.problem(line, at.id, text.to_owned());
                    conditions.push(Some(DraftFormula::Jq(".".into())));
                    continue;
                }
            };
            conditions.push(when.map(|jq| DraftFormula::Jq(located(jq))));
            branches.push(Branch {
                from: at.id.to_owned(),
                case,
                to,
            });
        }
        DraftOperation::Switch {
            cases: conditions,
            all: self.second(at, "match", matching, ["first", "all"]),
        }
    }

    fn for_each(&mut self, at: At<'_>, each: ForEachYaml) -> DraftOperation {
        DraftOperation::ForEach {
            items: each.items.map(located),
            parallel_max: each.max_parallel,
            collect: self.second(at, "errors", each.errors, ["stop", "collect"]),
            body: self.graph(each.body, at.depth + 1),
        }
    }

    fn again(&mut self, at: At<'_>, again: LoopYaml) -> DraftOperation {
        DraftOperation::Loop {
            again: DraftFormula::Jq(located(again.again)),
            iterations_max: again.max_iterations,
            body: self.graph(again.body, at.depth + 1),
        }
    }

    fn expand(&mut self, at: At<'_>, action: Spanned<ActionYaml>) -> DraftOperation {
        let at = At {
            line: action.referenced.line(),
            ..at
        };
        let action = action.value;
        let of_the_node = [
            ("retry", action.retry.is_some()),
            ("timeout", action.timeout.is_some()),
            ("idempotent", action.idempotent.is_some()),
            ("value", action.value.is_some()),
        ];
        for (key, _) in of_the_node.iter().filter(|(_, present)| *present) {
            let text = format!("its expand has {key}; write that beside expand, or leave it out");
            self.problem(at.line, at.id, text);
        }
        let by = self.action("expand", action, at);
        DraftOperation::Expand(Box::new(by.unwrap_or_else(nothing)))
    }

    fn wait(&mut self, at: At<'_>, wait: Spanned<TextOr<WaitYaml>>) -> DraftOperation {
        let (line, place) = (wait.referenced.line(), wait.defined);
        let text = match wait.value {
            TextOr::Text(text) => text,
            TextOr::Unquoted(found) => as_written(self.source, place, found),
            TextOr::Map(WaitYaml {
                signal: Some(name),
                until: None,
            }) => return DraftOperation::Wait(DraftWait::Signal(located(name))),
            TextOr::Map(WaitYaml {
                signal: None,
                until: Some(jq),
            }) => return DraftOperation::Wait(DraftWait::Until(located(jq))),
            TextOr::Map(_) => {
                let text = "wait is of another shape; write wait: 5m, { until: JQ } or \
                            { signal: NAME }";
                self.problem(line, at.id, text.to_owned());
                return nothing();
            }
        };
        match parse_duration(&text) {
            Ok(duration) => DraftOperation::Wait(DraftWait::Duration(duration)),
            Err(message) => {
                self.problem(line, at.id, format!("wait: {message}"));
                nothing()
            }
        }
    }
}

impl ActionYaml {
    /// Whether nothing is written.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            value: None,
            apply: None,
            http: None,
            map: None,
            pass: None,
            method: None,
            path: None,
            query: None,
            headers: None,
            content_type: None,
            mode: None,
            data: None,
            callback: None,
            retry: None,
            timeout: None,
            idempotent: None,
        } = self
        else {
            return false;
        };
        true
    }

    /// How many operations are written.
    pub(super) fn operations(&self) -> usize {
        let operations = [
            self.apply.is_some(),
            self.http.is_some(),
            self.map.is_some(),
            self.pass.is_some(),
        ];
        operations.iter().filter(|present| **present).count()
    }
}
