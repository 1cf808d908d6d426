//! Each command's output and exit code where all is well.

use serde_json::json;

use crate::harness::{Dev, ended, fizz_buzz, probe_folder, turlough};

#[tokio::test]
async fn run_prints_the_result_alone_on_stdout_and_progress_by_step_on_stderr() {
    let dev = Dev::start(&fizz_buzz(), &[]);
    let ran = dev.run(&["run", "fizz-buzz", "--data", "{\"n\": 9}"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.text(), "{\"answer\":\"Fizz\"}");
    let mut told = ran
        .stderr
        .lines()
        .map(|line| line.split(" in ").next().unwrap());
    assert!(told.next().unwrap().starts_with("request "));
    let steps: Vec<_> = told.collect();
    let expected = ["classify", "route", "fizz", "answer"].map(|step| format!("{step} succeeded"));
    assert_eq!(steps, expected, "{}", ran.stderr);
    assert_eq!(
        dev.run(&["run", "fizz-buzz", "-d", "{\"n\":9}", "-q"])
            .stderr,
        ""
    );
}

#[tokio::test]
async fn run_tells_all_of_a_request_as_json() {
    let dev = Dev::start(&fizz_buzz(), &[]);
    let ran = dev.run(&[
        "run",
        "flows/fizz-buzz",
        "-d",
        "{\"n\": 15}",
        "--output",
        "json",
    ]);
    let report = ran.json();
    assert_eq!(ran.code, Some(0));
    assert_eq!(report["status"], "succeeded");
    assert_eq!(report["result"], json!({ "answer": "FizzBuzz" }));
    assert!(report["duration_ms"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report.get("error").is_none());
    let steps = report["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|s| s["step"] == "fizz" && s["status"] == "skipped"),
        "{report}"
    );

    let bad = dev.run(&["run", "fizz-buzz", "-d", "{}", "--output", "json"]);
    assert_eq!(
        (bad.code, &bad.json()["status"]),
        (Some(3), &json!("failed"))
    );
    assert!(
        bad.json()["error"]
            .as_str()
            .unwrap()
            .starts_with("step classify: ")
    );
}

#[tokio::test]
async fn requests_and_request_show_what_ran() {
    let dev = Dev::start(&fizz_buzz(), &[]);
    let nothing = dev.run(&["requests"]);
    assert_eq!(
        (nothing.code, nothing.text(), &*nothing.stderr),
        (Some(0), "", "no requests\n")
    );
    let ids: Vec<String> = ["{\"n\":1}", "{}", "{\"n\":5}"]
        .map(|data| {
            dev.run(&["run", "fizz-buzz", "-d", data, "--output", "json"])
                .json()
        })
        .iter()
        .map(|report| report["request_id"].as_str().unwrap().to_owned())
        .collect();

    let listed = |more: &[&str]| -> Vec<String> {
        let list = dev
            .run(&[&["requests", "--output", "json"], more].concat())
            .json();
        let requests = list["requests"].as_array().unwrap().clone();
        requests
            .iter()
            .map(|r| r["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(&[]), newest_first);
    assert_eq!(listed(&["--limit", "2"]), newest_first[..2]);
    assert_eq!(listed(&["--status", "failed"]), ids[1..2]);
    assert_eq!(listed(&["--flow", "other"]), [""; 0]);
    let table = dev.run(&["requests", "--status", "failed"]);
    assert!(table.text().starts_with("ID "), "{}", table.text());
    assert!(table.text().lines().nth(1).unwrap().starts_with(&ids[1]));

    let shown = dev.run(&["request", &ids[2]]);
    assert_eq!(shown.code, Some(0));
    let about = |text: &str| shown.text().lines().any(|line| line.starts_with(text));
    assert!(
        about("status    succeeded") && about("buzz      succeeded"),
        "{}",
        shown.text()
    );
    assert!(about("number    skipped"), "{}", shown.text());
    let result = dev.run(&["request", &ids[2], "--result"]);
    assert_eq!(
        (result.code, result.text()),
        (Some(0), "{\"answer\":\"Buzz\"}")
    );
    let failed = dev.run(&["request", &ids[1], "--result"]);
    assert_eq!((failed.code, failed.text()), (Some(3), ""));
    assert_eq!(
        dev.run(&["request", &ids[2], "--output", "json"]).json()["function"],
        "flows"
    );
}

#[tokio::test]
async fn flow_is_drawn_alike_from_its_file_and_from_its_function() {
    let dev = Dev::start(&fizz_buzz(), &[]);
    let file = fizz_buzz().with_file_name("flows").join("fizz-buzz.yaml");
    let file = file.to_str().unwrap();
    for (format, begins) in [("mermaid", "flowchart"), ("dot", "digraph"), ("json", "{")] {
        let served = dev.run(&["graph", "fizz-buzz", "--format", format]);
        let read = ended(turlough(&["graph", "--file", file, "--format", format]));
        assert_eq!((served.code, read.code), (Some(0), Some(0)));
        assert!(read.text().starts_with(begins), "{}", read.text());
        assert_eq!(served.text(), read.text());
    }
    let flows = dev.run(&["flows", "--output", "json"]).json();
    assert_eq!(flows["flows"][0]["flow"], "fizz-buzz");
    let other = ended(turlough(&["graph", "other", "--file", file]));
    assert_eq!(other.code, Some(2));
    assert!(
        other.stderr.contains("holds flow `fizz-buzz`, not `other`"),
        "{}",
        other.stderr
    );
}

#[tokio::test]
async fn results_leave_as_they_came_whatever_they_are() {
    let folder = probe_folder();
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);
    let bytes: Vec<u8> = (0..=255).cycle().take(25_600).collect();
    let ran = dev.run(&["run", "bytes"]);
    assert_eq!((ran.code, ran.stdout == bytes), (Some(0), true));
    let told = dev.run(&["run", "bytes", "--output", "json"]).json();
    assert_eq!(
        told["result"],
        json!({ "content_type": "image/png", "bytes": 25_600 })
    );

    let input = folder.path().join("input");
    std::fs::write(&input, "{\"digits\":  1.00000000000000000001}").unwrap();
    let data = format!("@{}", input.display());
    let echoed = dev.run(&["run", "echo", "--data", &data]);
    assert_eq!(echoed.text(), "{\"digits\":  1.00000000000000000001}");
    let mut piped = dev.command(&["run", "echo", "--data", "@-", "--content-type", "text/csv"]);
    piped.stdin(std::fs::File::open(&input).unwrap());
    assert_eq!(ended(piped).stdout, echoed.stdout);
    assert_eq!(dev.run(&["run", "echo"]).stdout, b"");
}

#[tokio::test]
async fn output_of_functions_stands_under_their_names() {
    let folder = probe_folder();
    let logs = folder.path().join("logs");
    let stack = folder.path().join("stack.yaml");
    let loud = Dev::with(&stack, &[], &["--log-dir", logs.to_str().unwrap()]);
    let quiet = Dev::with(&stack, &[], &["--quiet"]);
    for dev in [&loud, &quiet] {
        assert_eq!(dev.run(&["run", "echo", "-d", "1"]).code, Some(0));
        dev.signal(rustix::process::Signal::TERM);
    }
    let (_, told) = loud.wait();
    assert!(
        told.lines().any(|line| line == "probe | echo was called"),
        "{told}"
    );
    let logged = std::fs::read_to_string(logs.join("probe.log")).unwrap();
    let parts: Vec<&str> = logged.splitn(3, ' ').collect();
    let [at, instance, text] = parts[..] else {
        panic!("{logged}")
    };
    assert!(
        at.ends_with('Z') && instance.starts_with("probe-"),
        "{logged}"
    );
    assert_eq!(text, "echo was called\n");
    assert_eq!(quiet.wait().1, "");
}

#[test]
fn validate_names_files_and_says_how_many_were_checked() {
    let folder = fizz_buzz().parent().unwrap().to_owned();
    let valid = ended(turlough(&["validate", folder.to_str().unwrap()]));
    assert_eq!((valid.code, valid.text()), (Some(0), ""));
    assert_eq!(valid.stderr, "1 flow, 1 stack: no problems\n");
}

#[test]
fn validate_warns_of_a_function_that_no_stack_has_and_is_content() {
    let folder = tempfile::tempdir().unwrap();
    let flow = folder.path().join("ghost.yaml");
    std::fs::write(&flow, "flow: ghost\nnodes: { call: { apply: nowhere } }\n").unwrap();
    let flow = flow.to_str().unwrap();
    let alone = ended(turlough(&["validate", flow]));
    assert_eq!(alone.stderr, "1 flow, 0 stacks: no problems\n");
    let stack = fizz_buzz();
    let both = ended(turlough(&["validate", flow, stack.to_str().unwrap()]));
    assert_eq!(both.code, Some(0));
    let warning = "warning: flow ghost applies function `nowhere`, which no stack here has";
    assert!(both.stderr.starts_with(warning), "{}", both.stderr);
}
