//! Flows that are put into a function that runs, and the schema of what may be put.

use serde_json::json;

use crate::harness::{Dev, ended, folder_with, put_file, turlough};

#[tokio::test]
async fn flow_that_is_put_is_served_at_once_and_open_requests_keep_theirs() {
    let nodes = "nodes: { ask: { wait: { signal: go } }, then: { after: [ask], pass: '\"old\"' } }";
    let folder = folder_with(&[("asks", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let old = dev.start_request("asks");
    let file = put_file(&folder, "asks", &nodes.replace("old", "new"));
    let file = file.to_str().unwrap();
    let put = |word: &str| {
        let put = dev.run(&["put", file, "--output", "json"]);
        assert_eq!(put.code, Some(0), "{put:?}");
        let put = put.json()["flows"][0].clone();
        assert_eq!(
            (&put["flow"], &put["put"]),
            (&json!("asks"), &json!(word)),
            "{put}"
        );
        put["version"].clone()
    };
    let version = put("replaced");
    assert_eq!(put("unchanged"), version);
    let new = dev.start_request("asks");
    for (id, result) in [(&old, "\"old\""), (&new, "\"new\"")] {
        assert_eq!(dev.run(&["signal", id, "go"]).code, Some(0));
        assert_eq!(dev.run(&["follow", id]).text(), result);
    }
    let other = put_file(&folder, "other", "nodes: { a: { pass: . } }");
    let told = dev.run(&["put", other.to_str().unwrap(), "--function", "flows"]);
    assert!(
        told.text().starts_with("other created: version "),
        "{told:?}"
    );
    assert_eq!(dev.run(&["run", "other", "-d", "1"]).text(), "1");
}

#[tokio::test]
async fn what_is_wrong_with_a_flow_is_told_by_file_and_line_and_nothing_is_put() {
    let folder = folder_with(&[]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let good = put_file(&folder, "good", "nodes: { a: { pass: . } }");
    let wrong = put_file(
        &folder,
        "wrong",
        "nodes:\n  a: { pass: '.[' }\n  b: { after: [zzz], pass: . }",
    );
    let (good, wrong) = (good.to_str().unwrap(), wrong.to_str().unwrap());
    let put = dev.run(&["put", good, wrong]);
    assert_eq!((put.code, put.text()), (Some(2), ""), "{put:?}");
    for place in [
        "wrong.yaml:4: flow wrong: node a",
        "wrong.yaml:5: flow wrong: node b",
    ] {
        assert!(put.stderr.contains(place), "no {place} in {}", put.stderr);
    }
    assert!(
        put.stderr.ends_with("nothing was put: 2 problems\n"),
        "{}",
        put.stderr
    );
    assert_eq!(dev.run(&["run", "good"]).code, Some(2));

    let named = put_file(&folder, "flows", "nodes: { a: { pass: . } }");
    let nowhere = ["put", good, "--function", "nowhere"];
    let reserved = ["put", named.to_str().unwrap()];
    for (arguments, why) in [
        (&nowhere[..], "no flow-function `nowhere`"),
        (&reserved, "a path of the API"),
    ] {
        let put = dev.run(arguments);
        assert_eq!((put.code, put.text()), (Some(2), ""), "{put:?}");
        assert!(put.stderr.contains(why), "{}", put.stderr);
    }
}

#[test]
fn schema_is_a_json_schema_of_a_flow() {
    let printed = ended(turlough(&["schema"]));
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let schema = printed.json();
    assert!(
        schema["$schema"]
            .as_str()
            .unwrap()
            .contains("json-schema.org"),
        "{schema}"
    );
    assert!(schema["properties"]["nodes"].is_object(), "{schema}");
}

#[test]
fn new_operations_are_validated_and_drawn_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    let flow = "flow: all
nodes:
  ask: { wait: { signal: go }, timeout: 1h, fallback: { value: 1 } }
  poll: { after: [ask], loop: { while: '. < 3', max_iterations: 5, body: { nodes: { up: { pass: '. + 1' } } } } }
  build: { after: [poll], expand: { pass: '{nodes: {a: {pass: \".\"}}}' } }
  child: { after: [build], flow: all }
  call: { after: [child], http: 'https://example.org/', method: GET }
finally: { nodes: { note: { pass: . } } }
";
    std::fs::write(&file, flow).unwrap();
    let file = file.to_str().unwrap();
    let valid = ended(turlough(&["validate", file]));
    assert_eq!(
        (valid.code, &*valid.stderr),
        (Some(0), "1 flow, 0 stacks: no problems\n"),
        "{valid:?}"
    );
    for format in ["mermaid", "dot", "json"] {
        let drawn = ended(turlough(&["graph", "--file", file, "--format", format]));
        assert_eq!(drawn.code, Some(0), "{drawn:?}");
        for node in ["ask", "poll", "up", "build", "child", "call", "note"] {
            assert!(drawn.text().contains(node), "no {node} in {}", drawn.text());
        }
    }
}
