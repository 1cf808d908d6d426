//! The examples do what their READMEs say.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Dev, eventually, example};

const NUMBERS: usize = 10_000;

fn run_json(dev: &Dev, arguments: &[&str]) -> Json {
    let ran = dev.run(&[arguments, &["--output", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

/// What the desks of the trip did, in the order of time: `book flight-1`.
async fn journal(dev: &Dev) -> Vec<String> {
    let mut entries = Vec::new();
    for desk in ["flight", "hotel", "car"] {
        let journal = dev.get(&format!("/function/{desk}/bookings")).await;
        entries.extend(journal.as_array().unwrap().clone());
    }
    entries.sort_by(|a, b| {
        a["at"]
            .as_f64()
            .unwrap()
            .total_cmp(&b["at"].as_f64().unwrap())
    });
    let told = |entry: &Json| {
        format!(
            "{} {}",
            entry["what"].as_str().unwrap(),
            entry["number"].as_str().unwrap()
        )
    };
    entries.iter().map(told).collect()
}

#[tokio::test]
async fn trip_is_undone_in_reverse_order_and_booked_anew_by_a_restart() {
    let dev = Dev::start(&example("trip"), &[]);
    let ran = dev.run(&["run", "trip", "--data", "{\"name\": \"ann\"}"]);
    assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
    let id = ran
        .stderr
        .lines()
        .next()
        .unwrap()
        .strip_prefix("request ")
        .unwrap();
    let first = [
        "book flight-1",
        "book hotel-1",
        "cancel hotel-1",
        "cancel flight-1",
    ];
    assert_eq!(journal(&dev).await, first);
    let letters = dev.get("/function/mail/letters").await;
    assert!(
        letters[0]
            .as_str()
            .unwrap()
            .starts_with("no trip for ann: "),
        "{letters}"
    );
    assert!(
        letters[0].as_str().unwrap().contains("no car is free"),
        "{letters}"
    );

    assert_eq!(dev.post("/function/car/free", "1").await.0, 200);
    assert_eq!(dev.run(&["restart", id]).code, Some(0));
    let tickets = run_json(&dev, &["follow", id])["result"].clone();
    let expected = json!({ "flight": "flight-2", "hotel": "hotel-2", "car": "car-1" });
    assert_eq!(tickets, expected);
    let second = ["book flight-2", "book hotel-2", "book car-1"];
    assert_eq!(journal(&dev).await, [&first[..], &second].concat());
    assert_eq!(
        dev.get("/function/mail/letters")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn approval_waits_for_a_decision_across_a_pause() {
    let dev = Dev::start(&example("waiting"), &[]);
    let small = run_json(&dev, &["run", "approval", "-d", "{\"amount\": 20}"]);
    assert_eq!(
        small["result"],
        json!({ "amount": 20, "approved": true, "by": null })
    );

    let id = dev.start_with("approval", &["-d", "{\"amount\": 500}"]);
    dev.until_status(&id, "sleeping").await;
    assert_eq!(dev.run(&["pause", &id]).code, Some(0));
    let decision = "{\"approved\": true, \"by\": \"ann\"}";
    assert_eq!(
        dev.run(&["signal", &id, "decision", "-d", decision]).code,
        Some(0)
    );
    dev.until_status(&id, "paused").await;
    assert_eq!(dev.run(&["request", &id, "--result"]).code, Some(4));
    assert_eq!(dev.run(&["resume", &id]).code, Some(0));
    let ended = run_json(&dev, &["follow", &id]);
    assert_eq!(
        ended["result"],
        json!({ "amount": 500, "approved": true, "by": "ann" })
    );
}

#[tokio::test]
async fn approval_that_nobody_gives_in_time_is_refused() {
    let dev = Dev::start(&example("waiting"), &[]);
    let ended = run_json(&dev, &["run", "hasty-approval", "-d", "{\"amount\": 500}"]);
    assert_eq!(
        ended["result"],
        json!({ "amount": 500, "approved": false, "by": "nobody" })
    );
}

#[tokio::test]
async fn polling_ends_by_its_condition_or_by_its_bound() {
    let dev = Dev::start(&example("waiting"), &[]);
    let done = run_json(&dev, &["run", "polling", "-d", "{\"polls\": 3}"]);
    assert_eq!(done["result"], json!({ "id": 1, "state": "done" }));
    let polled = |run: &Json| {
        let steps = run["steps"].as_array().unwrap().iter();
        let polls = steps.filter(|step| step["step"].as_str().unwrap().ends_with("/status"));
        polls.count()
    };
    assert_eq!(polled(&done), 3, "{done}");
    let stopped = run_json(&dev, &["run", "polling", "-d", "{\"polls\": 1000}"]);
    assert_eq!(stopped["result"], json!({ "id": 2, "state": "stopped" }));
    assert_eq!(polled(&stopped), 10, "{stopped}");
}

#[tokio::test]
async fn chain_of_a_thousand_calls_is_built_and_run() {
    let dev = Dev::start(&example("large"), &[]);
    let ran = run_json(&dev, &["run", "echo-chain", "-d", "1000"]);
    assert_eq!(ran["result"], 1000);
    let steps = ran["steps"].as_array().unwrap().iter();
    let called = steps.filter(|step| {
        let path = step["step"].as_str().unwrap();
        path.starts_with("build/echo") && step["status"] == "succeeded"
    });
    assert_eq!(called.count(), 1000);
}

#[tokio::test]
async fn ten_thousand_items_keep_their_order_and_fail_alone() {
    let dev = Dev::start(&example("large"), &[]);
    let id = dev.start_with("many", &["-d", &NUMBERS.to_string()]);
    // Longer than one command may take here, where the machine is busy.
    let mut waits = (0..8).map(|_| dev.run(&["follow", &id, "-q", "--timeout", "20s"]));
    let ran = waits.find(|ran| ran.code != Some(4)).unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let output = ran.json();
    let refused: Vec<_> = (0..NUMBERS).filter(|n| n % 1000 == 999).collect();
    assert_eq!(output["refused"], json!(refused));
    let results = output["results"].as_array().unwrap();
    assert_eq!(results.len(), NUMBERS);
    for (n, result) in results.iter().enumerate() {
        let expected = if n % 1000 == 999 {
            Json::Null
        } else {
            json!(n)
        };
        assert_eq!(*result, expected, "at {n}");
    }
}

/// How many requests a driver holds in memory.
async fn driving(dev: &Dev) -> Option<u64> {
    let metrics = dev.get("/function/flows/metrics").await;
    let mut lines = metrics.as_str().unwrap().lines();
    let line = lines.find(|line| line.starts_with("turlough_requests_driving"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn reports_are_written_side_by_side_while_nothing_is_in_memory() {
    let dev = Dev::start(&example("reports"), &[]);
    let begun = Instant::now();
    let id = dev.start_with("reports", &["-d", "{\"year\": 2013}"]);
    let request = dev.until_status(&id, "sleeping").await;
    assert_eq!(
        request["waits_for"].as_array().unwrap().len(),
        3,
        "{request}"
    );
    assert_eq!(driving(&dev).await, Some(0));
    assert_eq!(dev.request(&id)["status"], "sleeping");
    let ended = run_json(&dev, &["follow", &id]);
    let took = begun.elapsed();
    let expected = json!({ "pages": 15, "of": ["sales", "staff", "stock"] });
    assert_eq!(ended["result"], expected);
    // One after the other they would take six seconds.
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

/// The path at which an order of the press is to be answered, once there is one.
async fn order(dev: &Dev, at: usize) -> String {
    eventually("the press has the order", async || {
        let orders = dev.get("/function/press/orders").await;
        let url = orders[at]["callback"].as_str()?.to_owned();
        Some(url.strip_prefix(dev.gateway()).unwrap().to_owned())
    })
    .await
}

#[tokio::test]
async fn callback_counts_once_and_only_where_it_is_genuine() {
    let dev = Dev::start(&example("reports"), &[("TURLOUGH_HTTP_ALLOW", "127.0.0.1")]);
    let input = json!({ "copies": 2, "press": dev.url("/function/press/print") }).to_string();
    let id = dev.start_with("print", &["-d", &input]);
    let callback = order(&dev, 0).await;
    dev.until_status(&id, "sleeping").await;
    let forged = match callback.strip_suffix('A') {
        Some(token) => format!("{token}B"),
        None => format!("{}A", &callback[..callback.len() - 1]),
    };
    let answer = "{\"sheets\": 8}";
    assert_eq!(dev.post(&forged, answer).await.0, 403);
    assert_eq!(dev.request(&id)["status"], "sleeping");
    let (status, text) = dev.post(&callback, answer).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = dev.post(&callback, "{\"sheets\": 9}").await;
    assert_eq!(status, 409, "{text}");
    let ended = run_json(&dev, &["follow", &id]);
    assert_eq!(ended["result"], json!({ "sheets": 8 }));
    assert_eq!(dev.post(&callback, answer).await.0, 409);
}

#[tokio::test]
async fn callback_of_an_attempt_that_took_too_long_is_refused() {
    let dev = Dev::start(&example("reports"), &[("TURLOUGH_HTTP_ALLOW", "127.0.0.1")]);
    let flow = example("reports")
        .with_file_name("flows")
        .join("print.yaml");
    let short = std::fs::read_to_string(flow)
        .unwrap()
        .replace("timeout: 1m", "timeout: 1s");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("print.yaml");
    std::fs::write(&file, short).unwrap();
    assert_eq!(dev.run(&["put", file.to_str().unwrap()]).code, Some(0));
    let input = json!({ "copies": 1, "press": dev.url("/function/press/print") }).to_string();
    let id = dev.start_with("print", &["-d", &input]);
    let late = order(&dev, 0).await;
    let second = order(&dev, 1).await;
    let (status, text) = dev.post(&late, "{\"sheets\": 1}").await;
    assert_eq!(status, 409, "{text}");
    let (status, text) = dev.post(&second, "{\"sheets\": 2}").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(
        run_json(&dev, &["follow", &id])["result"],
        json!({ "sheets": 2 })
    );
}

#[tokio::test]
async fn every_example_is_valid_with_its_stack() {
    for name in ["fizz-buzz", "trip", "waiting", "reports", "large"] {
        let folder = example(name).parent().unwrap().to_owned();
        let valid = crate::harness::ended(crate::harness::turlough(&[
            "validate",
            folder.to_str().unwrap(),
        ]));
        assert_eq!((valid.code, valid.text()), (Some(0), ""), "{name}");
        assert!(
            valid.stderr.ends_with("1 stack: no problems\n"),
            "{name}: {}",
            valid.stderr
        );
    }
}

#[tokio::test]
async fn words_are_counted_where_the_text_lies_also_by_who_is_lent_that_alone() {
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(
        secrets.path().join("turlough-store-default"),
        "only of the tenant",
    )
    .unwrap();
    let folder = secrets.path().to_str().unwrap();
    for settings in [&[][..], &[("TURLOUGH_SECRETS", folder)]] {
        let dev = Dev::start(&example("by-reference"), settings);
        let ran = run_json(&dev, &["run", "words", "--data", "{\"times\": 5000}"]);
        let expect = json!({ "words": 35_000, "most": { "word": "the", "count": 10_000 } });
        assert_eq!(ran["result"], expect);
    }
}

#[test]
fn workflow_of_the_pipeline_validates_it_by_a_command_that_works() {
    #[derive(serde::Deserialize)]
    struct Workflow {
        jobs: std::collections::BTreeMap<String, Job>,
    }
    #[derive(serde::Deserialize)]
    struct Job {
        steps: Vec<Step>,
    }
    #[derive(serde::Deserialize)]
    struct Step {
        #[serde(default)]
        run: String,
    }
    let folder = example("ci").parent().unwrap().to_owned();
    let text = std::fs::read_to_string(folder.join("workflow.yaml")).unwrap();
    let workflow: Workflow = serde_saphyr::from_str(&text).unwrap();
    let commands = |job: &str| -> Vec<String> {
        let steps = workflow.jobs[job].steps.iter();
        steps.map(|step| step.run.clone()).collect()
    };
    assert!(commands("test").contains(&"turlough dev --quiet -- ./test.sh".to_owned()));
    let deploy = "turlough deploy --wait --timeout 5m".to_owned();
    assert!(commands("deploy").contains(&deploy));
    let validate = commands("test");
    let validate = validate
        .iter()
        .find_map(|run| run.strip_prefix("turlough "));
    let arguments: Vec<_> = validate.unwrap().split(' ').collect();
    let mut command = crate::harness::turlough(&arguments);
    command.current_dir(&folder);
    let valid = crate::harness::ended(command);
    assert_eq!(valid.code, Some(0), "{valid:?}");
    assert!(
        valid.stderr.ends_with("1 flow, 1 stack: no problems\n"),
        "{valid:?}"
    );
}
