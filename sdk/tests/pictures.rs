//! A flow as JSON, DOT and Mermaid, and what its version depends on.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use turlough_sdk::{Flow, Node, StepError, picture, read_yaml};

const ROUTED: &str = r#"
flow: routed
timeout: 30s
nodes:
  split: { apply: split.text, path: "/v1", headers: { X-A: b }, retry: { attempts: 3, backoff: 100ms..5s } }
  prefix: { pass: .prefix }
  words--: { after: [split], for_each: { items: .words, max_parallel: 4, body: { nodes: {
    look-up: { after: [item, prefix, input], pass: "{item, prefix}" } } } } }
  route:
    after: [words--]
    timeout: 2s
    switch:
      - when: |
          .kind == "a|b" and
          (.n < 3) and .x != "\\" and .y != "&#"
        to: small
      - { default: large }
  small: { pass: . }
  large: { apply: large, method: GET, content_type: application/msgpack }
"#;

#[test]
fn json_says_all_that_matters() {
    let flow = read_yaml(ROUTED).unwrap();
    let json = serde_json::to_string_pretty(&picture::flow_json(&flow)).unwrap();
    assert_eq!(json + "\n", include_str!("golden/routed.json"));
}

#[test]
fn dot_escapes_its_labels() {
    let text = picture::dot(&read_yaml(ROUTED).unwrap());
    assert_snapshot!(text, @r##"
    digraph "routed" {
      rankdir=LR; node [shape=box];
      "input" [shape=oval];
      "n_split" [label="split: apply split.text"];
      "n_prefix" [label="prefix: pass"];
      "n_words--" [label="words--: for_each"];
      subgraph "cluster_words--" { label="each words--";
        "n_look-up" [label="look-up: pass"];
      }
      "n_route" [label="route: switch",shape=diamond];
      "n_small" [label="small: pass"];
      "n_large" [label="large: apply large"];
      "n_words--" -> "n_look-up" [label="item"];
      "n_prefix" -> "n_look-up";
      "input" -> "n_look-up";
      "input" -> "n_split";
      "input" -> "n_prefix";
      "n_split" -> "n_words--";
      "n_words--" -> "n_route";
      "n_route" -> "n_small" [label=".kind == \"a|b\" and (.n < 3) and .x != \"\\\\\" and .y != \"&amp;#\""];
      "n_route" -> "n_large" [label="default"];
    }
    "##);
    graphviz_reads(&text);
}

#[test]
fn mermaid_escapes_its_labels() {
    assert_snapshot!(picture::mermaid(&read_yaml(ROUTED).unwrap()), @r##"
    flowchart LR
      input([input])
      n_split["split: apply split.text"]
      n_prefix["prefix: pass"]
      n_words..["words--: for_each"]
      subgraph s_words..["each words--"]
        n_look-up["look-up: pass"]
      end
      n_route{"route: switch"}
      n_small["small: pass"]
      n_large["large: apply large"]
      n_words.. -- "item" --> n_look-up
      n_prefix --> n_look-up
      input --> n_look-up
      input --> n_split
      input --> n_prefix
      n_split --> n_words..
      n_words.. --> n_route
      n_route -- ".kind == #quot;a|b#quot; and (.n #lt; 3) and .x != #quot;#92;#92;#quot; and .y != #quot;#amp;#35;#quot;" --> n_small
      n_route -- "default" --> n_large
    "##);
}

/// Where Graphviz is installed, it must take the text.
fn graphviz_reads(text: &str) {
    use std::io::Write as _;
    let dot = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut dot) = dot else { return };
    dot.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(dot.wait().unwrap().success(), "{text}");
}

fn version(text: &str) -> String {
    read_yaml(text).unwrap().version().to_string()
}

#[test]
fn a_version_stays_the_same_across_runs_and_releases() {
    // Requests in progress hold to the version that they began with: changing this strands them.
    assert_snapshot!(version(ROUTED), @"d121be31af9f407d");
}

#[test]
fn both_notations_of_a_flow_have_one_version() {
    let flow = Flow::builder("f").timeout(std::time::Duration::from_secs(30));
    let n = flow.input::<u32>();
    let call: Node<u32, _, _> = flow.apply("a", &n, "x").header("A", "b");
    let route = flow.switch("route", &call);
    let small: Node<u32, _, _> = flow.pass("small", &route.when(". < 3"), ". + 1");
    flow.pass::<u32, _>("large", &route.otherwise(), ".");
    let built = flow.output(&small).build().unwrap();
    let read = "flow: g\ntimeout: 30s\noutput: small\nnodes:\n  a: { apply: x, headers: { A: b } }\n  \
                route: { after: [a], switch: [{ when: '. < 3', to: small }, { default: large }] }\n  \
                small: { pass: '. + 1' }\n  large: { pass: . }\n";
    assert_eq!(version(read), built.version().as_str());
}

#[test]
fn a_version_differs_by_all_that_matters() {
    let base = "flow: f\noutput: d\nnodes:\n  a: { apply: x }\n  b: { after: [a], switch: [{ when: '.x', to: c }, { when: '.y', to: d }] }\n  c: { pass: . }\n  d: { pass: . }\n  e: { after: [a], for_each: { body: { nodes: { f: { pass: . } } } } }\n";
    assert_eq!(version(base), version(&base.replace("flow: f", "flow: g")));
    let mut versions = vec![version(base)];
    for (from, to) in [
        ("a: { apply: x }", "a: { apply: y }"),
        ("a: { apply: x }", "a: { apply: x, method: GET }"),
        ("a: { apply: x }", "a: { apply: x, path: /p }"),
        ("a: { apply: x }", "a: { apply: x, headers: { A: b } }"),
        ("a: { apply: x }", "a: { apply: x, headers: { A: c } }"),
        (
            "a: { apply: x }",
            "a: { apply: x, content_type: application/msgpack }",
        ),
        ("a: { apply: x }", "a: { apply: x, timeout: 1s }"),
        ("a: { apply: x }", "a: { apply: x, retry: { attempts: 2 } }"),
        (
            "a: { apply: x }",
            "a: { apply: x, retry: { attempts: 2, backoff: 1s } }",
        ),
        ("flow: f", "flow: f\ntimeout: 1s"),
        ("output: d", "output: c"),
        ("output: d\n", ""),
        (
            "'.x', to: c }, { when: '.y', to: d",
            "'.y', to: c }, { when: '.x', to: d",
        ),
        (
            "'.x', to: c }, { when: '.y', to: d",
            "'.x', to: d }, { when: '.y', to: c",
        ),
        ("{ when: '.y', to: d }", "{ default: d }"),
        ("c: { pass: . }", "c: { pass: .. }"),
        ("c: { pass: . }", "c: { after: [a], pass: . }"),
        ("body:", "max_parallel: 3, body:"),
        ("body:", "items: .l, body:"),
        ("f: { pass: . }", "f: { after: [item, a], pass: . }"),
    ] {
        let changed = base.replace(from, to);
        assert_ne!(changed, base, "{from}");
        versions.push(version(&changed));
    }
    let built = |version| {
        let flow = Flow::builder("f");
        let same = |n: u32| -> Result<u32, StepError> { Ok(n) };
        let _ = flow.map("a", &flow.input::<u32>(), same).version(version);
        flow.build().unwrap().version().to_string()
    };
    versions.extend([built(1), built(2)]);
    versions.extend([nested_version(true), nested_version(false)]);
    let mut seen = std::collections::HashSet::new();
    let mut twice = String::new();
    for (ix, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            let _ = write!(twice, "{ix} ");
        }
    }
    assert_eq!(
        twice, "",
        "these changes gave a version that was there before"
    );
}

/// A body that takes the outer item, or its own.
fn nested_version(outer: bool) -> String {
    let flow = Flow::builder("f");
    flow.for_each("a", &flow.input::<Vec<Vec<u32>>>(), |body, list| {
        body.for_each("b", list, |body, item| {
            let same = |n: serde_json::Value| -> Result<_, StepError> { Ok(n) };
            let taken = body.pass::<serde_json::Value, _>("c", item, ".").plain();
            let list = body.pass::<serde_json::Value, _>("d", list, ".").plain();
            body.map("e", if outer { &list } else { &taken }, same)
        })
    });
    flow.build().unwrap().version().to_string()
}
