//! The flows of the campaign: one for each thing that a request may be about, and what each must give.

use std::time::Duration;

use serde_json::{Value as Json, json};

/// A flow, with what it gives for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Chain,
    Join,
    Each,
    Early,
    Nap,
    Switch,
    Loop,
    Expand,
    Queued,
    Hooked,
    Asks,
    Saga,
    Sub,
    Once,
    Pay,
}

pub(crate) const KINDS: [Kind; 15] = [
    Kind::Chain,
    Kind::Join,
    Kind::Each,
    Kind::Early,
    Kind::Nap,
    Kind::Switch,
    Kind::Loop,
    Kind::Expand,
    Kind::Queued,
    Kind::Hooked,
    Kind::Asks,
    Kind::Saga,
    Kind::Sub,
    Kind::Once,
    Kind::Pay,
];

/// What can be done again is tried until it succeeds: a function may be away for half a minute.
const AGAIN: &str = "timeout: 3s, retry: { attempts: 200, backoff: 50ms..1s }";
/// Called at most once: whoever does not answer in time is not asked again.
const ONCE: &str = "apply: work, path: /once, idempotent: false, timeout: SECONDSs";
pub(crate) const ONCE_TIMEOUT: Duration = Duration::from_secs(4);

/// A graph that is made while a request runs.
const GRAPH: &str = r#"{timeout: "3s", retry: {attempts: 200, backoff: "50ms..1s"}} as $again | {nodes: {one: ({apply: "work", path: "/quick"} + $again), two: {after: ["one"], pass: ". + 1"}, three: ({after: ["two"], apply: "work", path: "/quick"} + $again)}}"#;

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Join => "join",
            Self::Each => "each",
            Self::Early => "early",
            Self::Nap => "nap",
            Self::Switch => "switch",
            Self::Loop => "loop",
            Self::Expand => "expand",
            Self::Queued => "queued",
            Self::Hooked => "hooked",
            Self::Asks => "asks",
            Self::Saga => "saga",
            Self::Sub => "sub",
            Self::Once => "once",
            Self::Pay => "pay",
        }
    }

    /// Its YAML; `gateway` is where endpoints answer that are called without being functions.
    pub(crate) fn text(self, gateway: &str) -> String {
        let nodes = match self {
            Self::Chain => {
                "a: { QUICK }, b: { after: [a], SLOW }, c: { after: [b], pass: '. + 1' }, d: { after: [c], QUICK }"
            }
            Self::Join => "a: { QUICK }, b: { SLOW }, c: { after: [a, b], pass: '.a + .b' }",
            Self::Each => {
                "list: { pass: '[range(6)]' }, all: { after: [list], for_each: { max_parallel: 3, body: { nodes: { x: { SLOW } } } } }, sum: { after: [all], pass: 'add' }"
            }
            // What it returns is larger than what rides in an event, and there before its last step.
            Self::Early => {
                "text: { pass: '[., \"x\" * 9000]' }, a: { SLOW }, b: { after: [a], SLOW }, c: { after: [b], SLOW }"
            }
            Self::Nap => "a: { QUICK }, b: { after: [a], wait: 3s }, c: { after: [b], QUICK }",
            Self::Switch => {
                "route: { switch: [{ when: '. % 2 == 1', to: odd }, { default: even }] }, odd: { SLOW }, even: { QUICK }, out: { after: [odd, even], pass: '[.[]][0]' }"
            }
            Self::Loop => {
                "grow: { loop: { while: '. < 40', max_iterations: 10, body: { nodes: { more: { apply: work, path: /more, AGAIN } } } } }"
            }
            Self::Expand => "build: { expand: { pass: 'GRAPH' } }",
            Self::Queued => {
                "a: { apply: work, path: /slow, mode: async, AGAIN }, b: { after: [a], pass: '. + 1' }"
            }
            Self::Hooked => {
                "a: { http: 'GATEWAY/function/work/hook', method: POST, callback: true, idempotent: true, AGAIN }, b: { after: [a], pass: '. + 1' }"
            }
            Self::Asks => {
                "a: { wait: { signal: go } }, b: { after: [a], wait: { signal: go } }, out: { after: [a, b], pass: . }"
            }
            Self::Saga => {
                "flight: { BOOK }, hotel: { after: [flight], BOOK }, car: { after: [hotel], apply: work, path: /refuse, AGAIN }"
            }
            Self::Sub => "a: { flow: chain }, b: { after: [a], pass: '. + 1' }",
            Self::Once => {
                "a: { ONCE, INSTEAD }, b: { after: [a], ONCE, INSTEAD }, c: { after: [b], ONCE, INSTEAD }, d: { after: [c], ONCE, INSTEAD }, e: { after: [d], ONCE, INSTEAD }, f: { after: [e], QUICK }"
            }
            Self::Pay => "pay: { ONCE }, done: { after: [pay], QUICK }",
        };
        let once = ONCE.replace("SECONDS", &ONCE_TIMEOUT.as_secs().to_string());
        let nodes = nodes
            .replace("GRAPH", GRAPH)
            .replace("GATEWAY", gateway)
            .replace(
                "BOOK",
                "apply: work, path: /book, AGAIN, compensate: { apply: work, path: /undo, AGAIN }",
            )
            .replace("QUICK", "apply: work, path: /quick, AGAIN")
            .replace("SLOW", "apply: work, path: /slow, AGAIN")
            .replace("ONCE", &once)
            .replace("INSTEAD", "fallback: { pass: . }")
            .replace("AGAIN", AGAIN);
        let name = self.name();
        format!("flow: {name}\ntimeout: 10m\nnodes: {{ {nodes} }}\n")
    }

    /// What it gives for a number; none where it fails.
    pub(crate) fn right(self, n: u64) -> Option<Json> {
        Some(match self {
            Self::Chain | Self::Expand | Self::Queued | Self::Hooked => json!(n + 1),
            Self::Join => json!(2 * n),
            Self::Each => json!(15),
            Self::Early => json!({ "c": n, "text": [n, "x".repeat(9_000)] }),
            Self::Nap | Self::Switch | Self::Once | Self::Pay => json!(n),
            Self::Loop => json!((0..10).fold(n, |n, _| if n < 40 { n + 10 } else { n })),
            Self::Asks => json!({ "a": n, "b": n + 1 }),
            Self::Sub => json!(n + 2),
            Self::Saga => return None,
        })
    }

    /// The steps that may be called once.
    pub(crate) const fn once(self) -> &'static [&'static str] {
        match self {
            Self::Once => &["a", "b", "c", "d", "e"],
            Self::Pay => &["pay"],
            _ => &[],
        }
    }
}
