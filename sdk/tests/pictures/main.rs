//! A flow as JSON, DOT and Mermaid, and what its version depends on.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod everything;
mod versions;

use std::process::{Command, Stdio};

use insta::assert_snapshot;
use turlough_sdk::{picture, read_yaml};

const ROUTED: &str = include_str!("../golden/routed.yaml");

#[test]
fn json_says_all_that_matters() {
    let flow = read_yaml(ROUTED).unwrap();
    let json = serde_json::to_string_pretty(&picture::flow_json(&flow)).unwrap();
    assert_eq!(json + "\n", include_str!("../golden/routed.json"));
}

#[test]
fn dot_escapes_its_labels() {
    let text = picture::dot(&read_yaml(ROUTED).unwrap());
    assert_snapshot!(text, @r##"
    digraph "routed" {
      rankdir=LR; node [shape=box];
      "input" [shape=oval];
      "n_split" [label="split: apply split.text\nattempts 3"];
      "n_prefix" [label="prefix: pass"];
      "n_words--" [label="words--: for_each"];
      subgraph "cluster_words--" { label="each words--";
        "n_look-up" [label="look-up: pass"];
      }
      "n_route" [label="route: switch\ntimeout 2s",shape=diamond];
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
      n_split["split: apply split.text<br/>attempts 3"]
      n_prefix["prefix: pass"]
      n_words..["words--: for_each"]
      subgraph s_words..["each words--"]
        n_look-up["look-up: pass"]
      end
      n_route{"route: switch<br/>timeout 2s"}
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
