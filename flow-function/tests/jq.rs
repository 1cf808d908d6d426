//! Expressions that never end, explode or die: their step fails, and nothing else.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use platform::Platform;
use serde_json::{Value as Json, json};
use turlough_flow_function::Settings;
use turlough_sdk::{Flow, read_yaml};

/// What must not be evaluated where it could not be stopped.
const HOSTILE: [&str; 22] = [
    "def f: f; f",
    "def f: 1 + f; f",
    "repeat(.)|empty",
    "last(repeat(1))",
    "[range(1e12)]",
    "[limit(1e10; repeat(1))]",
    "\"x\" * 1e10",
    "\"x\" * 2000000000",
    "until(false; .)",
    "[while(true; .)]",
    "[recurse([.])]",
    "reduce range(1e12) as $i ([]; [.])",
    "reduce range(1000000) as $i (0; [.]) | tojson",
    "reduce range(60) as $i (\"x\"; . + .)",
    "reduce range(60) as $i ([0]; . + .)",
    "[range(1e6) | tojson] | combinations",
    "[range(300000) | tostring] | [combinations(5)]",
    "\"[\" * 1000000 | fromjson",
    "[range(100)] | [.[] as $a | .[] as $b | .[] as $c | .[] as $d | .[] as $e | 1]",
    "(\"a\" * 100000) | [match(\"((a{0,9}){0,9}){0,9}b\"; \"g\")] | length | error",
    "label $out | foreach range(1e12) as $i (0; . + $i; if . < 0 then ., break $out else empty end)",
    "reduce range(1e9) as $i (0; . + 1)",
];

const TIMEOUT: Duration = Duration::from_secs(1);

fn flow(name: &str, jq: &str) -> Flow {
    let jq = Json::from(jq).to_string();
    read_yaml(&format!("flow: {name}\nnodes: {{ a: {{ pass: {jq} }} }}\n")).unwrap()
}

fn tight(settings: &mut Settings) {
    settings.jq_timeout = TIMEOUT;
    settings.jq_bytes_max = 128 << 20;
    settings.jq_processes = 4;
}

/// Most memory that this process ever had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

/// Processes that this one started for evaluations: their ids.
fn helpers() -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        let ours = parent == Some(&own.to_string()) && state != Some("Z");
        if ours && line.contains("--turlough-evaluator") {
            found.push(id);
        }
    }
    found
}

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never came about");
}

/// Tests look at this process's children, so that they go one after another.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_expressions_fail_their_step_and_nothing_else() {
    let _alone = ALONE.lock().await;
    let mut flows = vec![flow("good", ".n"), flow("other", "[range(.n)] | add")];
    for (ix, jq) in HOSTILE.iter().enumerate() {
        flows.push(flow(&format!("hostile-{ix}"), jq));
    }
    let platform = Platform::with(flows, tight).await;
    let before = peak_bytes();
    let calls = (0..HOSTILE.len()).map(|ix| {
        let call = platform.http.post(format!("{}/hostile-{ix}", platform.url));
        tokio::spawn(call.body("{\"n\": 1}").send())
    });
    let calls: Vec<_> = calls.collect();
    // Meanwhile, others are served as ever.
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
        let begin = Instant::now();
        assert_eq!(
            platform
                .post("/good", "{\"n\": 7}")
                .await
                .text()
                .await
                .unwrap(),
            "7"
        );
        slowest = slowest.max(begin.elapsed());
        served += 1;
    }
    for (call, jq) in calls.into_iter().zip(HOSTILE) {
        let problem: Json = call.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!(problem["cause"], "permanent", "{jq}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("jq expression "), "{detail}");
    }
    assert!(
        served > 20 && slowest < Duration::from_secs(2),
        "{served} {slowest:?}"
    );
    let grown = peak_bytes() - before;
    assert!(grown < 100 << 20, "{grown} bytes");
    // And those that need a helper, after it all.
    assert_eq!(
        platform
            .post("/other", "{\"n\": 10}")
            .await
            .text()
            .await
            .unwrap(),
        "45"
    );
}

/// With time enough, it is the limit of memory that stops them, and says so.
#[tokio::test]
async fn an_expression_that_explodes_is_stopped_by_its_limit_of_memory() {
    let _alone = ALONE.lock().await;
    let explosive = [
        "\"x\" * 2000000000",
        "reduce range(60) as $i (\"x\"; . + .)",
    ];
    let flows = explosive.iter().enumerate();
    let flows = flows.map(|(ix, jq)| flow(&format!("explosive-{ix}"), jq));
    let platform = Platform::with(flows.collect(), |settings| {
        tight(settings);
        settings.jq_timeout = Duration::from_secs(60);
    })
    .await;
    for ix in 0..explosive.len() {
        let answer = platform.post(&format!("/explosive-{ix}"), "1").await;
        let problem: Json = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        let told = "limit of 134217728 bytes and was stopped";
        assert!(detail.contains(told), "{detail}");
    }
}

#[tokio::test]
async fn an_unbounded_expression_works_in_every_place_and_its_helper_is_used_again() {
    let _alone = ALONE.lock().await;
    let text = r#"
flow: all
nodes:
  list: { pass: "[range(.n)]" }
  each: { after: [list], for_each: { items: "map(. * 10) | unique", body: { nodes: { b: { pass: "[.] | add" } } } } }
  route: { after: [each], switch: [{ when: "add < 0", to: no }, { when: "add >= 0", to: yes }] }
  no: { pass: "0" }
  yes: { pass: "{sum: add, request: ($request | test(\"-\")), $node, $attempt}" }
"#;
    let platform = Platform::with(vec![read_yaml(text).unwrap()], |settings| {
        tight(settings);
        settings.jq_processes = 1;
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = platform.post("/all", "{\"n\": 4}").await;
        let answer: Json = answer.json().await.unwrap();
        let said = json!({ "sum": 60, "request": true, "node": "yes", "attempt": 1 });
        assert_eq!(answer["yes"], said);
        ids.extend(helpers());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn a_helper_that_is_killed_from_outside_is_replaced() {
    let _alone = ALONE.lock().await;
    let flows = vec![
        flow("slow", "last(range(300000)) | . + 1"),
        flow("quick", "[range(3)] | add"),
        flow("never", "last(repeat(1))"),
    ];
    let platform = Platform::with(flows, |settings| {
        settings.jq_timeout = Duration::from_secs(60);
        settings.jq_processes = 1;
    })
    .await;
    let kill = |id: &u32| {
        let status = std::process::Command::new("kill")
            .args(["-9", &id.to_string()])
            .status();
        assert!(status.unwrap().success());
    };
    // While it is idle.
    assert_eq!(
        platform.post("/quick", "1").await.text().await.unwrap(),
        "3"
    );
    helpers().iter().for_each(kill);
    eventually("its end", || helpers().is_empty()).await;
    assert_eq!(
        platform.post("/quick", "1").await.text().await.unwrap(),
        "3"
    );
    // In mid-evaluation: once it is begun anew, twice it is enough.
    let first = helpers();
    let call = tokio::spawn(
        platform
            .http
            .post(format!("{}/never", platform.url))
            .body("1")
            .send(),
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    first.iter().for_each(kill);
    eventually("another", || helpers().iter().any(|id| !first.contains(id))).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    helpers().iter().for_each(kill);
    let problem: Json = call.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(problem["cause"], "permanent");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("lost its process 2 times"), "{detail}");
    assert_eq!(
        platform.post("/slow", "1").await.text().await.unwrap(),
        "300000"
    );
}

#[tokio::test]
async fn an_evaluation_that_nobody_waits_for_is_killed() {
    let _alone = ALONE.lock().await;
    let text = "flow: never\nnodes: { a: { pass: 'last(repeat(1))', timeout: 300ms, retry: { attempts: 1 } } }";
    let flows = vec![
        read_yaml(text).unwrap(),
        flow("for-ever", "last(repeat(1))"),
    ];
    let platform = Platform::with(flows, |settings| {
        settings.jq_timeout = Duration::from_secs(60);
    })
    .await;
    let problem: Json = platform.post("/never", "1").await.json().await.unwrap();
    assert_eq!(problem["cause"], "timeout", "{problem}");
    eventually("the end of the helper", || helpers().is_empty()).await;
    let id = platform.begin("/for-ever", "1").await;
    eventually("a helper", || helpers().len() == 1).await;
    let cancelled = platform
        .http
        .post(format!("{}/requests/{id}/cancel", platform.url));
    assert!(cancelled.send().await.unwrap().status().is_success());
    eventually("the end of the helper", || helpers().is_empty()).await;
}

/// What a flow says whose helper is another program.
async fn with_program(program: PathBuf) -> String {
    let platform = Platform::with(vec![flow("a", "[range(3)]")], |settings| {
        settings.evaluator = Some(program);
    })
    .await;
    let problem: Json = platform.post("/a", "1").await.json().await.unwrap();
    assert_eq!(problem["cause"], "permanent");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_program_that_is_no_evaluator_is_named() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, script, why) in [
        ("ends", "exit 3", "ended at once (exit status: 3)"),
        (
            "talks",
            "echo hello, I am another program",
            "began with \"hello, I am anot\"",
        ),
        ("silent", "exec sleep 600", "said nothing within 5s"),
    ] {
        let program = folder.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        let begin = Instant::now();
        let told = with_program(program).await;
        for part in [
            name,
            why,
            "run_evaluator_if_asked",
            "TURLOUGH_EVALUATOR_PROGRAM",
        ] {
            assert!(told.contains(part), "{part} is missing in {told}");
        }
        assert!(begin.elapsed() < Duration::from_secs(15));
    }
    let told = with_program(PathBuf::from("/no/such/program")).await;
    assert!(told.contains("it is not there"), "{told}");
}

#[tokio::test]
async fn large_inputs_and_outputs_go_through_a_helper() {
    let _alone = ALONE.lock().await;
    let flows = vec![
        flow("count", "[.[] | ascii_upcase] | unique | length"),
        flow("grow", "[range(200000)]"),
        flow("much", "[range(3000000)]"),
        flow("same", "map({a: .})"),
    ];
    let platform = Platform::with(flows, |settings| {
        settings.body_bytes_max = 8 << 20;
        settings.jq_timeout = Duration::from_secs(60);
    })
    .await;
    let rows: Vec<String> = (0..200_000).map(|n| format!("row {n}")).collect();
    let body = serde_json::to_string(&rows).unwrap();
    let counted = platform.post("/count", body.clone()).await;
    assert_eq!(counted.text().await.unwrap(), "200000");
    let grown: Vec<u32> = platform.post("/grow", "1").await.json().await.unwrap();
    assert_eq!(grown.len(), 200_000);
    let problem: Json = platform.post("/much", "1").await.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("limit 8388608; raise TURLOUGH_BODY_BYTES_MAX"),
        "{detail}"
    );
    // A bound, and much to do: beside the reactor.
    let same: Vec<Json> = platform.post("/same", body).await.json().await.unwrap();
    assert_eq!(same[199_999]["a"], "row 199999");
}
