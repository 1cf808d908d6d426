//! Calls by reference: what is lent, what comes back, and what is none.

use turlough_datastore::data;
use turlough_datastore::{DataStore, Reference};

use super::*;
use crate::data::LocalStore;

const NODE: &str = "flow: f\nnodes:\n  n: { apply: words, data: reference }\n";

/// What a function does with what it is lent: the reference that it answers with, and a body.
type Does = fn(Arc<dyn DataStore>, HeaderMap) -> Doing;
type Doing = std::pin::Pin<Box<dyn Future<Output = (Option<String>, String)> + Send>>;

struct World {
    bench: Bench,
    store: Arc<dyn DataStore>,
    seen: Arc<Seen>,
    _local: LocalStore,
}

/// A store, and a function that uses it.
async fn world(node: &str, does: Does) -> World {
    let local = LocalStore::start().await;
    let store = Arc::clone(&local.store);
    let (gateway, seen) = function(Arc::clone(&store), does).await;
    let mut settings = Settings::from_environment();
    settings.gateway_url = gateway;
    let stores = Stores::new(Arc::clone(&store), None, settings.data_lease);
    let bench = Bench::on(node, settings, stores, tempfile::tempdir().unwrap());
    World {
        bench,
        store,
        seen,
        _local: local,
    }
}

/// Stands for the gateway and the function behind it.
async fn function(store: Arc<dyn DataStore>, does: Does) -> (String, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let kept = Arc::clone(&seen);
    let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        kept.0.lock().unwrap().push((uri, headers.clone(), body));
        let doing = does(Arc::clone(&store), headers);
        async move {
            let (said, body) = doing.await;
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert("x-turlough-data-ref", said.parse().unwrap());
            }
            (headers, body)
        }
    };
    let app = Router::new().fallback(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, seen)
}

fn request() -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(1))
}

fn line(at: &ValueRef) -> Reference {
    let ValueRef::Stored {
        store,
        boot,
        key,
        size,
        digest,
    } = at
    else {
        panic!("{at:?}")
    };
    Reference {
        store: store.to_string(),
        boot: *boot,
        key: key.as_bytes().to_vec(),
        size: *size,
        digest: *digest,
        backup: None,
    }
}

/// Reads what it is lent, and puts it under a key, twice as long.
async fn doubled(store: &Arc<dyn DataStore>, headers: &HeaderMap, under: &str) -> Reference {
    let input: Reference = headers["x-turlough-data-ref"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let key = String::from_utf8(input.key).unwrap();
    let at = data::Stored {
        store: &input.store,
        boot: input.boot,
        key: &key,
        size: input.size,
        digest: input.digest,
    };
    let read = Value::from_envelope(store.get(request(), at).await.unwrap()).unwrap();
    let twice = [read.body(), read.body()].concat();
    let value = Value::new(ContentType::BYTES, Producer::Function, &twice);
    let put = store.put(request(), 1, under, value.envelope().clone());
    line(&put.await.unwrap())
}

/// Puts bytes under the key that is lent, and says where they lie.
async fn put(
    store: &Arc<dyn DataStore>,
    headers: &HeaderMap,
    bytes: &[u8],
) -> (Option<String>, String) {
    let bytes = Bytes::copy_from_slice(bytes);
    let at = store.put(request(), 1, &key(headers), bytes).await.unwrap();
    (Some(line(&at).to_string()), String::new())
}

fn key(headers: &HeaderMap) -> String {
    headers["x-turlough-data-key"].to_str().unwrap().to_owned()
}

fn doubles(store: Arc<dyn DataStore>, headers: HeaderMap) -> Doing {
    Box::pin(async move {
        let said = doubled(&store, &headers, &key(&headers)).await;
        (Some(said.to_string()), String::new())
    })
}

#[tokio::test]
async fn a_function_reads_and_writes_where_it_is_told_and_neither_is_sent() {
    let world = world(NODE, doubles).await;
    let end = world.bench.end(Work::Operation, "\"ab\"").await;
    let StepEnd::Succeeded { value } = &end.end else {
        panic!("{:?}", end.end)
    };
    let (uri, headers, body) = world.seen.last();
    assert_eq!((uri.path(), body.len()), ("/function/words", 0));
    let ValueRef::Stored { key: under, .. } = value else {
        panic!("{value:?}")
    };
    assert_eq!(**under, key(&headers));
    assert!(
        !headers.contains_key("x-turlough-data-auth"),
        "nobody has a password"
    );
    let read = world.bench.context.data.load(value).await.unwrap();
    assert_eq!(read.body(), "\"ab\"\"ab\"");
    // What it lay at before is lent as it is.
    let at = Given::Value(Arc::new(value.clone()));
    let inputs = vec![("input", Some(at))];
    world.bench.run(Work::Operation, inputs).await;
    let (_, headers, _) = world.seen.last();
    assert_eq!(headers["x-turlough-data-ref"], line(value).to_string());
    // Its data goes with the request, though nothing of it was put here.
    let stores = &world.bench.context.shared.stores;
    assert_eq!(stores.seen_to_after(None, 9), [request()]);
    world.bench.context.data.close().await;
    assert!(world.bench.context.data.load(value).await.is_err());
}

#[tokio::test]
async fn what_must_outlive_the_store_is_kept_elsewhere() {
    let node = NODE.replace("reference }", "reference, idempotent: false }");
    let world = world(&node, doubles).await;
    let end = world.bench.end(Work::Operation, "\"ab\"").await;
    let StepEnd::Succeeded { value } = &end.end else {
        panic!("{:?}", end.end)
    };
    assert!(matches!(value, ValueRef::Inline(_)), "{value:?}");
}

#[tokio::test]
async fn variables_are_set_from_what_lies_there() {
    let node = NODE.replace("reference }", "reference, set: { size: 'length' } }");
    let world = world(&node, |store, headers| {
        Box::pin(async move {
            let value = Value::new(ContentType::JSON, Producer::Function, b"[1,2,3]");
            let envelope = value.envelope().clone();
            let at = store
                .put(request(), 1, &key(&headers), envelope)
                .await
                .unwrap();
            (Some(line(&at).to_string()), String::new())
        })
    })
    .await;
    let end = world.bench.end(Work::Operation, "1").await;
    assert_eq!(world.bench.text(&end.set[0].1), "3");
}

#[tokio::test]
async fn what_is_no_output_of_its_is_refused() {
    let cases: [(Does, Cause, &str); 6] = [
        (
            |store, headers| {
                Box::pin(async move {
                    let under = format!("{{{}}}mine", request());
                    let said = doubled(&store, &headers, &under).await;
                    (Some(said.to_string()), String::new())
                })
            },
            Cause::Permanent,
            "the key that was lent for it is",
        ),
        (
            |_, _| Box::pin(async { (Some("turlough://nowhere".to_owned()), String::new()) }),
            Cause::Permanent,
            "hand on what BUCKET.REF gave",
        ),
        (
            |store, headers| {
                Box::pin(async move {
                    let mut said = doubled(&store, &headers, &key(&headers)).await;
                    said.boot += 1;
                    (Some(said.to_string()), String::new())
                })
            },
            Cause::Transient,
            "function words answered by reference: value",
        ),
        (
            |store, headers| {
                Box::pin(async move {
                    let mut said = doubled(&store, &headers, &key(&headers)).await;
                    said.store = "127.0.0.1:9".to_owned();
                    (Some(said.to_string()), String::new())
                })
            },
            Cause::Transient,
            "function words answered by reference: value",
        ),
        (
            |store, headers| Box::pin(async move { put(&store, &headers, b"no envelope").await }),
            Cause::Permanent,
            "is not an envelope",
        ),
        (
            |store, headers| {
                Box::pin(async move {
                    let value = Value::new(ContentType::JSON, Producer::Closure, b"1");
                    put(&store, &headers, value.envelope()).await
                })
            },
            Cause::Permanent,
            "a function writes producer 1",
        ),
    ];
    for (does, cause, says) in cases {
        let world = world(NODE, does).await;
        let failure = world.bench.failure(Work::Operation, "\"ab\"").await;
        assert!(
            failure.0 == cause && failure.1.contains(says),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn a_function_that_answers_with_a_body_is_taken_at_its_word() {
    let world = world(NODE, |_, _| Box::pin(async { (None, "[1]".to_owned()) })).await;
    assert_eq!(world.bench.output(Work::Operation, "1").await, "[1]");
}

#[tokio::test]
async fn an_input_that_is_gone_is_told_before_anybody_is_called() {
    let world = world(NODE, doubles).await;
    let key = format!("{{{}}}gone", request());
    let envelope = json("1").envelope().clone();
    let at = world.store.put(request(), 1, &key, envelope).await.unwrap();
    world.store.drop_bucket(request(), 1).await.unwrap();
    let given = Given::Value(Arc::new(at.clone()));
    let ended = world
        .bench
        .run(Work::Operation, vec![("input", Some(given))]);
    let Attempted::Ended { ended, .. } = ended.await else {
        panic!("it is called")
    };
    assert!(matches!(&ended.end, StepEnd::Lost { value } if *value == at));
    assert!(world.seen.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_several_inputs_a_map_is_lent_though_one_alone_came() {
    let world = world(NODE, doubles).await;
    for size in [1, 10_000] {
        let value = json(&format!("{:?}", "x".repeat(size)));
        let kept = world.bench.context.data.keep("a", 0, &value).await.unwrap();
        let inputs = vec![("a", Some(Given::Value(Arc::new(kept)))), ("b", None)];
        let Attempted::Ended { ended, .. } = world.bench.run(Work::Operation, inputs).await else {
            panic!("it ends")
        };
        let StepEnd::Succeeded { value } = &ended.end else {
            panic!("{:?}", ended.end)
        };
        let twice = world.bench.context.data.load(value).await.unwrap();
        // A map of one, in MessagePack.
        assert_eq!(twice.body()[..3], [0x81, 0xa1, b'a'], "{size}");
    }
}

#[tokio::test]
async fn where_a_store_has_heard_of_a_newer_claim_nobody_is_called() {
    for input in [given("1"), None] {
        let world = world(NODE, doubles).await;
        let key = format!("{{{}}}later", request());
        let envelope = json("1").envelope().clone();
        world.store.put(request(), 6, &key, envelope).await.unwrap();
        let attempted = world.bench.run(Work::Operation, vec![("input", input)]);
        let Attempted::Behind { epoch, .. } = attempted.await else {
            panic!("it is called")
        };
        assert_eq!(epoch, 6);
        assert!(world.seen.0.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_lies_in_no_store_s_process_cannot_be_lent() {
    let bench = Bench::new(NODE, |_| {});
    let (cause, message) = bench.failure(Work::Operation, "1").await;
    assert_eq!(cause, Cause::Permanent);
    assert!(message.contains("set TURLOUGH_DATA to one"), "{message}");
}
