//! Every operation and attribute, as JSON and as pictures.

use insta::assert_snapshot;
use turlough_sdk::{picture, read_yaml};

pub(crate) const EVERYTHING: &str = include_str!("../golden/everything.yaml");

#[test]
fn json_says_every_attribute() {
    let flow = read_yaml(EVERYTHING).unwrap();
    let json = serde_json::to_string_pretty(&picture::flow_json(&flow)).unwrap();
    assert_eq!(json + "\n", include_str!("../golden/everything.json"));
}

#[test]
fn dot_shows_every_operation() {
    let text = picture::dot(&read_yaml(EVERYTHING).unwrap());
    crate::graphviz_reads(&text);
    assert_snapshot!(text, @r##"
    digraph "everything" {
      rankdir=LR; node [shape=box];
      "input" [shape=oval];
      "n_call" [label="call: apply x\nwhen .w\nattempts 2\ntimeout 1s\nfallback value\ncompensate apply undo\nsets v"];
      "n_once" [label="once: apply o\ncalled at most once"];
      "n_trace" [label="trace: apply t\nleaves no trace"];
      "n_later" [label="later: apply z async"];
      "n_end" [label="end: http POST https://a.example/b callback"];
      "n_computed" [label="computed: http GET .url"];
      "n_pick" [label="pick: switch\nmatch all",shape=diamond];
      "n_one" [label="one: pass"];
      "n_two" [label="two: pass"];
      "n_each" [label="each: for_each\nerrors collect\naggregate length"];
      subgraph "cluster_each" { label="each each";
        "n_inner" [label="inner: pass"];
      }
      "n_again" [label="again: loop\nwhile .w, at most 3 times"];
      subgraph "cluster_again" { label="repeat again";
        "n_step" [label="step: pass"];
      }
      "n_made" [label="made: expand apply planner"];
      "n_sub" [label="sub: flow other"];
      "n_nap" [label="nap: wait 5m"];
      "n_moment" [label="moment: wait until .at"];
      "n_signalled" [label="signalled: wait signal go"];
      "n_last" [label="last: pass"];
      "on_failure" [shape=oval];
      subgraph "cluster_.on_failure" { label="on failure";
        "n_told" [label="told: pass"];
      }
      "finally" [shape=oval];
      subgraph "cluster_.finally" { label="finally";
        "n_logged" [label="logged: pass"];
      }
      "n_each" -> "n_inner" [label="item"];
      "n_once" -> "n_inner";
      "n_again" -> "n_step" [label="state"];
      "input" -> "n_call";
      "input" -> "n_once";
      "input" -> "n_trace";
      "input" -> "n_later";
      "input" -> "n_end";
      "input" -> "n_computed";
      "n_call" -> "n_pick";
      "n_pick" -> "n_one" [label=".x"];
      "n_pick" -> "n_two" [label="default"];
      "n_call" -> "n_each" [label="via .list"];
      "n_call" -> "n_again";
      "input" -> "n_made";
      "input" -> "n_sub";
      "input" -> "n_nap";
      "input" -> "n_moment";
      "input" -> "n_signalled";
      "n_one" -> "n_last";
      "n_nap" -> "n_last" [style=dashed];
      "on_failure" -> "n_told";
      "finally" -> "n_logged";
    }
    "##);
}

#[test]
fn mermaid_shows_every_operation() {
    assert_snapshot!(picture::mermaid(&read_yaml(EVERYTHING).unwrap()), @r##"
    flowchart LR
      input([input])
      n_call["call: apply x<br/>when .w<br/>attempts 2<br/>timeout 1s<br/>fallback value<br/>compensate apply undo<br/>sets v"]
      n_once["once: apply o<br/>called at most once"]
      n_trace["trace: apply t<br/>leaves no trace"]
      n_later["later: apply z async"]
      n_end["end: http POST https://a.example/b callback"]
      n_computed["computed: http GET .url"]
      n_pick{"pick: switch<br/>match all"}
      n_one["one: pass"]
      n_two["two: pass"]
      n_each["each: for_each<br/>errors collect<br/>aggregate length"]
      subgraph s_each["each each"]
        n_inner["inner: pass"]
      end
      n_again["again: loop<br/>while .w, at most 3 times"]
      subgraph s_again["repeat again"]
        n_step["step: pass"]
      end
      n_made["made: expand apply planner"]
      n_sub["sub: flow other"]
      n_nap["nap: wait 5m"]
      n_moment["moment: wait until .at"]
      n_signalled["signalled: wait signal go"]
      n_last["last: pass"]
      on_failure([on_failure])
      subgraph s_.on_failure["on failure"]
        n_told["told: pass"]
      end
      finally([finally])
      subgraph s_.finally["finally"]
        n_logged["logged: pass"]
      end
      n_each -- "item" --> n_inner
      n_once --> n_inner
      n_again -- "state" --> n_step
      input --> n_call
      input --> n_once
      input --> n_trace
      input --> n_later
      input --> n_end
      input --> n_computed
      n_call --> n_pick
      n_pick -- ".x" --> n_one
      n_pick -- "default" --> n_two
      n_call -- "via .list" --> n_each
      n_call --> n_again
      input --> n_made
      input --> n_sub
      input --> n_nap
      input --> n_moment
      input --> n_signalled
      n_one --> n_last
      n_nap -.-> n_last
      on_failure --> n_told
      finally --> n_logged
    "##);
}
