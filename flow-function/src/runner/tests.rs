//! Attempts by themselves, against an endpoint on a port of its own.

mod calls;
mod lent;

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use axum::Router;
use axum::extract::State as Known;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use turlough_sdk::{ContentType, Producer, read_yaml};
use turlough_statestore::State;
use uuid::Uuid;

use super::*;
use crate::clock::now_us;
use crate::data::Stores;
use crate::engine::Engine;
use crate::machine::Results;
use crate::settings::Settings;

/// What an endpoint was sent.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<(Uri, HeaderMap, Bytes)>>);

impl Seen {
    fn last(&self) -> (Uri, HeaderMap, Bytes) {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

/// Answers with what it is sent; `/status/N` with that, and with the headers, as one who leaks them.
async fn endpoint() -> (String, Arc<Seen>) {
    async fn answer(
        Known(seen): Known<Arc<Seen>>,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let path = uri.path().to_owned();
        let told = format!("you sent {headers:?}");
        seen.0.lock().unwrap().push((uri, headers, body.clone()));
        match path.rsplit_once("/status/") {
            Some((_, status)) => {
                (StatusCode::from_bytes(status.as_bytes()).unwrap(), told).into_response()
            }
            None => ([("content-type", "application/json")], body).into_response(),
        }
    }
    let seen = Arc::new(Seen::default());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&seen));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, seen)
}

/// Takes a call, says the beginning of an answer or nothing, and hangs up.
async fn rude(beginning: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = connection.read(&mut head).await;
            let _ = connection.write_all(beginning.as_bytes()).await;
        }
    });
    url
}

fn json(text: &str) -> Value {
    Value::new(ContentType::JSON, Producer::Caller, text.as_bytes())
}

fn inline(value: &Value) -> ValueRef {
    ValueRef::Inline(value.envelope().clone())
}

fn given(text: &str) -> Option<Given> {
    Some(Given::Value(Arc::new(inline(&json(text)))))
}

struct Bench {
    context: Arc<Context>,
    secrets: tempfile::TempDir,
}

impl Bench {
    /// A request of the flow, whose input is `{"in": 1}`, called with `?q=1` and `x-h: 2`.
    fn new(yaml: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let mut settings = Settings::from_environment();
        settings.secrets = secrets.path().to_owned();
        settings.http_allow = "127.0.0.1".parse().unwrap();
        change(&mut settings);
        let stores = Stores::in_memory(&settings);
        Self::on(yaml, settings, stores, secrets)
    }

    /// The same, with its data somewhere.
    fn on(yaml: &str, settings: Settings, stores: Stores, secrets: tempfile::TempDir) -> Self {
        let state = State::in_memory(&settings.state.options(&settings.tenant, &settings.function));
        let shared = Engine::with(settings, state, stores).unwrap().shared;
        let flow = Arc::new(read_yaml(yaml).unwrap_or_else(|error| panic!("{yaml}\n{error}")));
        let request = RequestId::from_uuid(Uuid::from_u128(1));
        let accepted = Accepted {
            flow: flow.name().clone(),
            version: flow.version().to_string(),
            tenant: "default".parse().unwrap(),
            input: inline(&json("{\"in\": 1}")),
            query: vec![("q".to_owned(), "1".to_owned())],
            headers: vec![("x-h".to_owned(), "2".to_owned())],
            parent: None,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: u64::MAX,
            at_us: 0,
        };
        let inline_bytes_max = shared.settings.inline_bytes_max;
        let (stores, none) = (&shared.stores, HashMap::new());
        let data = RequestData::new(request, (0, 1), stores, inline_bytes_max, none);
        let context = Arc::new(Context {
            trace: None,
            request,
            generation: 0,
            epoch: 1,
            data,
            shared,
            flow,
            accepted: Arc::new(accepted),
        });
        Self { context, secrets }
    }

    /// An attempt of the flow's first node.
    fn attempt(&self, work: Work, inputs: Vec<(&str, Option<Given>)>) -> Box<Run> {
        let named = |(name, given): (&str, Option<Given>)| (Arc::from(name), given);
        let variables = BTreeMap::from([("v".to_owned(), inline(&json("[7]")))]);
        let flow = &self.context.flow;
        let node = flow
            .graph()
            .nodes
            .iter()
            .position(|node| node.id.as_str() == "n");
        Box::new(Run {
            step: StepPath::from("n"),
            attempt: 1,
            generation: 0,
            not_before_us: 0,
            until_us: now_us() + 60_000_000,
            graph: Arc::clone(flow.graph()),
            node: node.unwrap(),
            work,
            inputs: inputs.into_iter().map(named).collect(),
            variables: Arc::new(variables),
            error: None,
        })
    }

    async fn run(&self, work: Work, inputs: Vec<(&str, Option<Given>)>) -> Attempted {
        let attempt = self.attempt(work, inputs);
        // As the driver does: what runs must be able to change threads.
        tokio::spawn(run(
            Arc::clone(&self.context),
            Arc::from(attempt),
            None,
            None,
        ))
        .await
        .unwrap()
    }

    /// The end of an attempt on one input.
    async fn end(&self, work: Work, input: &str) -> StepEnded {
        match self.run(work, vec![("input", given(input))]).await {
            Attempted::Ended { ended, .. } => ended,
            called => panic!("{called:?}"),
        }
    }

    async fn output(&self, work: Work, input: &str) -> String {
        let ended = self.end(work, input).await;
        let StepEnd::Succeeded { value } = &ended.end else {
            panic!("{:?}", ended.end)
        };
        self.text(value)
    }

    fn text(&self, at: &ValueRef) -> String {
        // It is in the log, or in this process.
        let value = self.context.data.load(at).now_or_never().unwrap().unwrap();
        String::from_utf8(value.leaving(false).unwrap().1.to_vec()).unwrap()
    }

    async fn failure(&self, work: Work, input: &str) -> (Cause, String) {
        match self.end(work, input).await.end {
            StepEnd::Failed { message, cause } => (cause, message),
            end => panic!("{end:?}"),
        }
    }
}

fn bench(node: &str) -> Bench {
    Bench::new(&format!("flow: f\nnodes:\n  n: {node}\n"), |_| {})
}

#[tokio::test]
async fn an_expression_knows_its_request() {
    let bench = bench(
        "{ pass: '[$request, $flow, $node, $attempt, $query.q, $headers[\"x-h\"], $input.in, $vars.v, $error]' }",
    );
    let id = "00000000-0000-0000-0000-000000000001";
    assert_eq!(
        bench.output(Work::Operation, "null").await,
        format!("[\"{id}\",\"f\",\"n\",1,\"1\",\"2\",1,[7],null]")
    );
}

#[tokio::test]
async fn a_step_sets_variables_from_its_output_within_a_bound() {
    let bench = bench("{ pass: .x, set: { first: '.[0]', whole: . } }");
    let ended = bench.end(Work::Operation, "{\"x\": [5]}").await;
    let set: Vec<_> = ended
        .set
        .iter()
        .map(|(name, at)| (name.as_str(), bench.text(at)))
        .collect();
    assert_eq!(
        set,
        [("first", "5".to_owned()), ("whole", "[5]".to_owned())]
    );
    let large = format!("{{\"x\": [\"{}\"]}}", "y".repeat(5000));
    let (cause, message) = bench.failure(Work::Operation, &large).await;
    assert_eq!(cause, Cause::Permanent);
    assert_eq!(
        message,
        "variable first is 5002 bytes, limit 4096; pass it along an edge"
    );
}

#[tokio::test]
async fn when_is_asked_on_the_nodes_input() {
    let bench = bench("{ when: .yes, pass: . }");
    let went = bench.end(Work::When, "{\"yes\": 1}").await.end;
    assert_eq!(went, StepEnd::Went);
    assert_eq!(bench.end(Work::When, "{}").await.end, StepEnd::Skipped);
}

#[tokio::test]
async fn a_switch_takes_the_first_case_or_all_or_the_default() {
    let switch = |extra: &str| {
        Bench::new(
            &format!(
                "flow: f\nnodes:\n  n: {{ {extra} switch: [{{ when: . > 1, to: a }}, \
                 {{ when: . > 2, to: b }}, {{ default: c }}] }}\n  a: {{ pass: . }}\n  b: {{ pass: . }}\n  c: {{ pass: . }}\n"
            ),
            |_| {},
        )
    };
    for (extra, input, expected) in [
        ("", "3", &[0][..]),
        ("", "1", &[2]),
        ("match: all,", "3", &[0, 1]),
        ("match: all,", "2", &[0]),
        ("match: all,", "0", &[2]),
    ] {
        let end = switch(extra).end(Work::Operation, input).await.end;
        let cases = expected.to_vec();
        assert_eq!(end, StepEnd::Took { cases, input: None }, "{extra} {input}");
    }
}

#[tokio::test]
async fn inputs_are_transformed_joined_and_made_one() {
    let bench = Bench::new(
        "flow: f\nnodes:\n  a: { pass: . }\n  b: { pass: . }\n  n: { after: [{ node: a, transform: \". + 1\" }, b], aggregate: \"[.a, .b]\", switch: [{ when: \". == [2, 3]\", to: c }] }\n  c: { pass: . }\n",
        |_| {},
    );
    let inputs = vec![("a", given("1")), ("b", given("3"))];
    let Attempted::Ended { ended, .. } = bench.run(Work::Operation, inputs).await else {
        panic!("it was handed over")
    };
    let StepEnd::Took { cases, input } = ended.end else {
        panic!("{:?}", ended.end)
    };
    assert_eq!(cases, [0]);
    assert_eq!(
        bench.text(&input.unwrap()),
        "[2,3]",
        "what formulas made is kept"
    );
}

#[tokio::test]
async fn a_map_of_items_comes_back_under_its_keys() {
    let bench = bench(
        "{ for_each: { items: .all, errors: collect, body: { nodes: { a: { pass: . } } } }, aggregate: '{results, at: [.errors[].index]}' }",
    );
    let end = bench
        .end(Work::Operation, "{\"all\": {\"x\": 1, \"y\": 2}}")
        .await
        .end;
    let StepEnd::Split { items: 2, manifest } = end else {
        panic!("{end:?}")
    };
    let trouble = turlough_statestore::event::Trouble {
        step: StepPath::from("n[1]/a"),
        message: "no".to_owned(),
        cause: Cause::Permanent,
    };
    let manifest = Arc::new(manifest);
    let first = Given::Item {
        manifest: Arc::clone(&manifest),
        index: 0,
    };
    let results = Results {
        manifest,
        given: vec![Some(first), None],
        errors: vec![(1, Arc::new(trouble))],
    };
    let gathered = bench.output(Work::Gather(Arc::new(results)), "null").await;
    assert_eq!(gathered, "{\"results\":{\"x\":1,\"y\":null},\"at\":[1]}");
}

#[tokio::test]
async fn a_loop_asks_of_its_state_and_of_its_input_at_first() {
    let bench = bench(
        "{ loop: { while: . < 3, max_iterations: 9, body: { nodes: { a: { pass: . } } } }, set: { last: . } }",
    );
    let first = bench.end(Work::Ask(None), "1").await;
    assert_eq!(
        first.end,
        StepEnd::Asked {
            again: true,
            input: None
        }
    );
    assert!(first.set.is_empty());
    let last = bench.end(Work::Ask(given("3")), "1").await;
    assert_eq!(
        last.end,
        StepEnd::Asked {
            again: false,
            input: None
        }
    );
    assert_eq!(
        bench.text(&last.set[0].1),
        "3",
        "its last state is its output"
    );
}

#[tokio::test]
async fn a_graph_made_at_run_time_is_read_before_it_is_recorded() {
    let bench = bench("{ expand: { pass: .graph } }");
    let good = "{\"graph\": {\"nodes\": {\"a\": {\"pass\": \".\"}}}}";
    let end = bench.end(Work::Operation, good).await.end;
    let graph = "{\"nodes\":{\"a\":{\"pass\":\".\"}}}".to_owned();
    assert_eq!(end, StepEnd::Expanded { graph, input: None });
    let bad = "{\"graph\": {\"nodes\": {\"a\": {\"pass\": \"nonsense(1)\"}, \"b\": {\"after\": [\"c\"], \"pass\": \".\"}}}}";
    let (cause, message) = bench.failure(Work::Operation, bad).await;
    assert_eq!(cause, Cause::Permanent);
    assert!(
        message.contains("nonsense") && message.contains('c'),
        "{message}"
    );
}

#[tokio::test]
async fn a_value_that_is_gone_is_named() {
    let bench = bench("{ pass: . }");
    let at = ValueRef::Stored {
        store: Arc::from("memory:"),
        boot: 0,
        key: Arc::from("gone"),
        size: 9,
        digest: turlough_sdk::Digest(0),
    };
    let inputs = vec![("input", Some(Given::Value(Arc::new(at.clone()))))];
    let Attempted::Ended { ended, .. } = bench.run(Work::Operation, inputs).await else {
        panic!("it was handed over")
    };
    assert_eq!(ended.end, StepEnd::Lost { value: at });
}

#[tokio::test]
async fn what_must_not_be_made_again_is_kept_in_the_log() {
    let (url, _) = endpoint().await;
    let node = format!("flow: f\nnodes:\n  n: {{ http: \"{url}\", idempotent: false }}\n");
    let bench = Bench::new(&node, |settings| settings.durable_bytes_max = 600_000);
    let long = format!("\"{}\"", "x".repeat(500_000));
    let inputs = vec![("input", given(&long))];
    let Attempted::Ended { parts, ended } = bench.run(Work::Operation, inputs).await else {
        panic!("it was handed over")
    };
    assert_eq!(parts.len(), 2, "an append holds 480 KiB of it");
    let StepEnd::Succeeded { value: at } = ended.end else {
        panic!("{:?}", ended.end)
    };
    assert!(matches!(at, ValueRef::Parts { count: 2, .. }));
    assert_eq!(bench.text(&at), long, "it can be read at once");
    // And by who reads the log later; but not where a byte of it is another.
    let mut whole = Vec::new();
    for part in &parts {
        if let Event::Part { bytes, .. } = part {
            whole.extend_from_slice(bytes);
        }
    }
    let ValueRef::Parts { upload, .. } = at else {
        panic!()
    };
    let later = async |envelope: &[u8]| {
        let stores = &bench.context.shared.stores;
        let parts = HashMap::from([(upload, Bytes::copy_from_slice(envelope))]);
        let data = RequestData::new(bench.context.request, (0, 1), stores, 4096, parts);
        data.load(&at).await
    };
    assert!(later(&whole).await.is_ok());
    *whole.last_mut().unwrap() ^= 1;
    assert!(later(&whole).await.is_err());
    // What was done and cannot be kept has not failed as though it had not been done.
    let long = format!("\"{}\"", "x".repeat(600_000));
    let (cause, message) = bench.failure(Work::Operation, &long).await;
    assert_eq!(cause, Cause::Unknown);
    assert!(
        message.contains("raise TURLOUGH_DURABLE_BYTES_MAX"),
        "{message}"
    );
}

#[tokio::test]
async fn what_undoes_a_step_is_given_its_input_and_its_output() {
    let bench = bench("{ apply: book, compensate: { pass: . } }");
    let undone = bench.output(Work::Compensate(given("2")), "1").await;
    assert_eq!(undone, "{\"input\":1,\"output\":2}");
    assert_eq!(
        bench.output(Work::Compensate(None), "1").await,
        "{\"input\":1}"
    );
}

#[tokio::test]
async fn what_stands_in_for_a_step_is_given_its_input() {
    let bench = bench("{ apply: book, fallback: { pass: . + 1 }, set: { made: . } }");
    let ended = bench.end(Work::Fallback, "1").await;
    assert_eq!(bench.text(&ended.set[0].1), "2");
}
