//! Every operation and attribute as Rust writes it, through the running gateway. What they mean is
//! tested where YAML writes them; here it is that the builder says the same.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::collections::BTreeMap;
use std::time::Duration;

use platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use turlough_flow_function::{Flow, FlowError, Retry, StepError};
use turlough_sdk::builder::{after, jq};
use turlough_sdk::{Collected, Compensation, Context, Report};

/// The answer of a flow that is alone on its platform.
async fn answer(flow: Result<Flow, FlowError>, input: Json) -> Json {
    let platform = Platform::start(vec![flow.unwrap()]).await;
    let answer = platform.post("/", input.to_string()).await;
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

fn double(n: u32) -> Result<u32, StepError> {
    Ok(n * 2)
}

async fn add((a, b): (u32, u32)) -> Result<u32, StepError> {
    Ok(a + b)
}

#[tokio::test]
async fn joins_order_only_edges_and_transforms() {
    let flow = Flow::builder("join");
    let n = flow.input::<u32>();
    let doubled = flow.map("double", &n, double);
    let summed = flow.map("add", (&n, &doubled), add);
    let told = flow.pass::<u32, _>("told", &n, ".").after(&summed);
    let empty = flow.pass::<Json, _>("empty", after(&summed), ".");
    let last = flow.pass::<Json, _>("last", &told.via::<Json, _>("{told: .}"), ".");
    let all = flow.pass::<Json, _>(
        "all",
        (&last, &summed, &empty),
        "[.last.told, .add, .empty]",
    );
    assert_eq!(
        answer(flow.output(&all).build(), json!(2)).await,
        json!([2, 6, null])
    );
}

#[tokio::test]
async fn calls_with_texts_methods_and_callbacks() {
    let flow = Flow::builder("calls").timeout(Duration::from_secs(60));
    let n = flow.input::<u32>();
    let called = flow
        .apply::<u32, _>("called", &n, "echo")
        .path(jq(r#""/of/" + tostring"#))
        .query("n", jq("."))
        .header("X-N", jq("tostring"))
        .retry(Retry::exponential(
            2,
            Duration::from_millis(1)..Duration::from_millis(2),
        ));
    let later = flow
        .apply::<u32, _>("later", &called, "echo")
        .asynchronous()
        .timeout(Duration::from_secs(30));
    let flow = flow.output(&later).build();
    assert_eq!(answer(flow, json!(7)).await, json!(7));
}

#[tokio::test]
async fn switches_by_jq_and_by_closures_first_and_all() {
    let flow = Flow::builder("routes");
    let n = flow.input::<u32>();
    let one = flow.switch("one", &n);
    let small = flow.map("small", &one.when(|n: &u32| *n < 10), double);
    let large = flow.pass::<u32, _>("large", &one.otherwise(), ". + 1");
    let all = flow.switch("all", &n).all();
    let even = flow.pass::<u32, _>("even", &all.when(". % 2 == 0"), "2");
    let third = flow.pass::<u32, _>("third", &all.when(". % 3 == 0"), "3");
    let told = flow.map(
        "told",
        (&small, &large, &even, &third),
        |(a, b, c, d): (Option<u32>, Option<u32>, Option<u32>, Option<u32>)| {
            Ok::<_, StepError>([a, b, c, d])
        },
    );
    let flow = flow.output(&told).build();
    assert_eq!(answer(flow, json!(6)).await, json!([12, null, 2, 3]));
}

#[tokio::test]
async fn bodies_over_lists_and_maps_collected_and_aggregated() {
    fn odd(n: u32) -> Result<u32, StepError> {
        if n % 2 == 1 {
            Ok(n)
        } else {
            Err(StepError::permanent("even"))
        }
    }
    fn failed(all: Collected<u32>) -> Result<Vec<usize>, StepError> {
        Ok(all.errors.iter().map(|error| error.index).collect())
    }
    let flow = Flow::builder("bodies");
    let lists = flow.input::<BTreeMap<String, Vec<u32>>>();
    let sums = flow.for_each("sums", &lists, |body, list| {
        body.map("sum", list, |list: Vec<u32>| {
            Ok::<u32, StepError>(list.iter().sum())
        })
    });
    let odds = flow
        .for_each("odds", &lists.via::<Vec<u32>, _>(".b"), |body, n| {
            body.map("odd", n, odd)
        })
        .max_parallel(2)
        .collect()
        .aggregate(failed);
    let told = flow.pass::<Json, _>("told", (&sums, &odds), "[.sums, .odds]");
    let flow = flow.output(&told).build();
    let input = json!({"a": [1, 2], "b": [3, 4, 5, 6]});
    assert_eq!(
        answer(flow, input).await,
        json!([{"a": 3, "b": 18}, [1, 3]])
    );
}

#[tokio::test]
async fn loops_expansions_sub_flows_and_waits() {
    fn plan(n: u32) -> Result<Json, StepError> {
        let node = |at: u32| match at {
            0 => json!({ "map": "double" }),
            at => json!({ "after": [format!("n{}", at - 1)], "map": "double" }),
        };
        let nodes: serde_json::Map<_, _> = (0..n).map(|at| (format!("n{at}"), node(at))).collect();
        Ok(json!({ "nodes": nodes }))
    }
    let inner = Flow::builder("inner");
    let n = inner.input::<u32>();
    let next = inner.map("next", &n, |n: u32| Ok::<u32, StepError>(n + 1));
    let inner = inner.output(&next).build().unwrap();

    let flow = Flow::builder("outer").closure("double", double);
    let n = flow.input::<u32>();
    let grown = flow.repeat_while(
        "grow",
        &n,
        |n: &u32| *n < 3,
        9,
        |body, n| body.map("more", n, |n: u32| Ok::<u32, StepError>(n + 1)),
    );
    let built = flow.expand::<u32, _, _, _>("build", &grown, |by| by.map(plan));
    let run = flow.subflow::<u32, _>("run", &built, "inner");
    let slept = flow.wait("sleep", &run, Duration::from_millis(5));
    let due = flow.wait_until("due", &slept, "1700000000");
    let go = flow.signal::<u32, _>("go", &due, "go");
    let told = flow.map("told", (&due, &go), add);
    let outer = flow.output(&told).build().unwrap();
    let platform = Platform::start(vec![inner, outer]).await;
    let id = platform.begin("/outer", "1").await;
    platform
        .post(&format!("/requests/{id}/signals/go"), "100")
        .await;
    let ended = |view: &Json| view["status"] == "succeeded";
    platform.until(&format!("/requests/{id}"), ended).await;
    // Grown to 3, doubled 3 times, and one more.
    assert_eq!(
        platform.json(&format!("/requests/{id}/result")).await,
        json!(125)
    );
}

#[tokio::test]
async fn attributes_context_and_variables() {
    #[derive(Serialize, Deserialize)]
    struct Seen {
        flow: String,
        node: String,
        who: Option<String>,
        again: u32,
    }
    fn remember((n, context): (u32, Context)) -> Result<u32, StepError> {
        context.set("who", "ann")?;
        Ok(n)
    }
    fn see((_, context): (u32, Context)) -> Result<Seen, StepError> {
        Ok(Seen {
            flow: context.flow().to_string(),
            node: context.node().to_string(),
            who: context.get("who")?,
            again: context.input()?,
        })
    }
    let flow = Flow::builder("attributes")
        .concurrency(2)
        .header("X-Region");
    let n = flow.input::<u32>();
    let first = flow.map("remember", (&n, flow.context()), remember).pure();
    let seen = flow.map("see", (&first, flow.context()), see);
    let skipped = flow.map("skipped", &first, double).when(". > 100");
    let instead = flow
        .apply::<u32, _>("instead", &first, "refuse")
        .fallback(5);
    let other = flow
        .apply::<u32, _>("other", &first, "refuse")
        .at_most_once()
        .fallback_with(|other| other.map(double));
    let told = flow.pass::<Json, _>(
        "told",
        (&seen, &skipped, &instead, &other),
        "[.see, .skipped, .instead, .other]",
    );
    let flow = flow.output(&told).build();
    let seen = json!({"flow": "attributes", "node": "see", "who": "ann", "again": 4});
    assert_eq!(answer(flow, json!(4)).await, json!([seen, null, 5, 8]));
}

#[tokio::test]
async fn compensation_and_handlers_are_given_what_they_need() {
    fn undo(done: Compensation<u32, u32>) -> Result<String, StepError> {
        Ok(format!("{} {:?}", done.input, done.output))
    }
    fn tell(report: Report) -> Result<String, StepError> {
        let error = report
            .error
            .and_then(|error| error.step)
            .map(|step| step.to_string());
        Ok(format!("{:?} {error:?}", report.status))
    }
    let flow = Flow::builder("undone");
    let n = flow.input::<u32>();
    let booked = flow.map("book", &n, double).compensate(|by| by.map(undo));
    let paid = flow.apply::<u32, _>("pay", &booked, "refuse");
    let flow = flow
        .output(&paid)
        .on_failure(|body, report| body.map("tell", report, tell))
        .finally(|body, report| body.map("tell-all", report, tell))
        .build()
        .unwrap();
    let platform = Platform::with(vec![flow], |settings| {
        settings.keep_failed = Duration::from_secs(60);
    })
    .await;
    let id = platform.begin("/undone", "4").await;
    let failed = |view: &Json| view["status"] == "failed";
    let view = platform.until(&format!("/requests/{id}"), failed).await;
    let steps: Vec<_> = view["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["step"].clone())
        .collect();
    let expected = json!([
        "book",
        "book/~compensate",
        "pay",
        "~on_failure/tell",
        "~finally/tell-all"
    ]);
    assert_eq!(Json::Array(steps), expected, "{view}");
    let output = |step: &str| format!("/requests/{id}/steps/{step}/output");
    assert_eq!(
        platform.json(&output("book/~compensate")).await,
        json!("4 Some(8)"),
        "{view}"
    );
    assert_eq!(
        platform.json(&output("~on_failure/tell")).await,
        json!("Failed Some(\"pay\")"),
        "{view}"
    );
}
