//! What steps were given and gave, and word of the end.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::harness::{Dev, folder_with};

#[tokio::test]
async fn values_of_a_step_are_printed_as_they_are() {
    let nodes = "nodes:
  picture: { apply: probe, path: /bytes }
  each: { after: [input], for_each: { body: { nodes: { one: { apply: probe, path: /echo } } } } }
  end: { after: [{ node: picture, data: false }, { node: each, data: false }], apply: probe, path: /fail }";
    let folder = folder_with(&[("values", nodes)]);
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let id = dev.start_with("values", &["-d", "[\"a\", {\"b\": 1.50}]"]);
    // A failed request keeps its data.
    dev.until_status(&id, "failed").await;
    let bytes: Vec<u8> = (0..=255).cycle().take(25_600).collect();
    let printed = dev.run(&["request", &id, "--step", "picture"]);
    assert_eq!(
        (printed.code, printed.stdout == bytes),
        (Some(0), true),
        "{}",
        printed.stderr
    );
    let printed = dev.run(&["request", &id, "--step", "each[1]/one"]);
    assert_eq!(printed.text(), "{\"b\": 1.50}", "{}", printed.stderr);
    let printed = dev.run(&["request", &id, "--step", "each", "--input"]);
    assert_eq!(
        printed.text(),
        "[\"a\", {\"b\": 1.50}]",
        "{}",
        printed.stderr
    );
    let printed = dev.run(&["request", &id, "--step", "each[0]/one", "--output", "json"]);
    let expected = json!({ "request_id": id, "step": "each[0]/one", "output": "a" });
    assert_eq!(printed.json(), expected);

    for (step, why) in [("nowhere", "has no step nowhere"), ("end", "none yet")] {
        let refused = dev.run(&["request", &id, "--step", step]);
        assert_eq!((refused.code, refused.text()), (Some(2), ""), "{refused:?}");
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    assert_eq!(dev.run(&["request", &id, "--input"]).code, Some(2));
}

#[tokio::test]
async fn end_is_told_to_the_callback_url() {
    let folder = folder_with(&[]);
    let allow = [("TURLOUGH_HTTP_ALLOW", "127.0.0.1")];
    let dev = Dev::start(&folder.path().join("stack.yaml"), &allow);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done?x=1", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        while !text.contains("\r\n\r\n") || !text.ends_with("[1]") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "it broke off: {text}");
            text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        text
    });
    let id = dev.start_with("echo", &["-d", "[1]", "--callback-url", &url]);
    let text = taken.join().unwrap();
    assert!(text.starts_with("POST /done?x=1 HTTP/1.1\r\n"), "{text}");
    assert!(text.contains(&id), "{text}");

    let elsewhere = [
        "run",
        "echo",
        "--callback-url",
        "http://10.0.0.1/",
        "--async",
    ];
    let refused = dev.run(&elsewhere);
    assert_eq!((refused.code, refused.text()), (Some(2), ""), "{refused:?}");
    assert!(refused.stderr.contains("10.0.0.1"), "{}", refused.stderr);
    assert_eq!(
        dev.run(&["run", "echo", "--callback-url", "nowhere"]).code,
        Some(2)
    );
}
