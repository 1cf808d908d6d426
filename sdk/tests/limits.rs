//! Retries, durations, ids and envelopes at the edges of their ranges.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use turlough_sdk::{
    Body, Closure, ContentType, Flow, FunctionName, Inputs, NodeId, Operation, Place, RequestId,
    Retry, SignalName, StepError, StepPath, Value, format_duration, parse_duration,
};

proptest! {
    #[test]
    fn a_wait_is_half_to_all_of_its_step(attempt: u32, jitter: f64, min_ms in 0_u64..10_000, max_ms in 0_u64..10_000) {
        let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(min_ms + max_ms));
        let retry = Retry::exponential(3, min..max);
        let full = retry.wait_after(attempt, 1.0);
        prop_assert!((min..=max).contains(&full), "{full:?}");
        let wait = retry.wait_after(attempt, jitter);
        prop_assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        prop_assert!(retry.wait_after(attempt.saturating_add(1), 1.0) >= full);
    }

    #[test]
    fn a_duration_reads_back(us in 1_u64..366 * 86_400_000_000) {
        let duration = Duration::from_micros(us);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn no_text_breaks_the_readers(text in ".{0,60}") {
        let _ = parse_duration(&text);
        let _ = StepPath::from(text.as_str()).segments();
        let _ = turlough_sdk::read_yaml(&text);
        let _ = turlough_sdk::read_graph(&text, &BTreeMap::new());
        if let Ok(id) = text.parse::<NodeId>() {
            prop_assert_eq!(id.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<SignalName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn no_tree_of_known_words_breaks_the_readers(tree in tree()) {
        let text = tree.to_string();
        let _ = turlough_sdk::read_yaml(&format!("flow: f\nnodes: {text}"));
        let _ = turlough_sdk::read_graph(&format!("nodes: {text}"), &BTreeMap::new());
        let node = format!("{{\"nodes\":{{\"a\":{text}}}}}");
        let _ = turlough_sdk::read_graph(&node, &BTreeMap::new());
    }

    #[test]
    fn an_id_reads_back(uuid: u128) {
        let id = RequestId::from_uuid(uuid::Uuid::from_u128(uuid));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_step_path_reads_back(
        names in prop::collection::vec("[a-z0-9][a-z0-9_-]{0,9}", 1..6),
        number: u32,
        kind in 0..3_usize,
    ) {
        let ids: Vec<NodeId> = names.iter().map(|name| name.parse().unwrap()).collect();
        let place = [None, Some(Place::Item(number)), Some(Place::Iteration(number))][kind];
        let path = ids[1..].iter().fold(StepPath::root(&ids[0]), |path, id| path.inside(place, id));
        let segments = path.segments().unwrap();
        prop_assert_eq!(segments.len(), ids.len());
        for (at, (id, found)) in segments.iter().enumerate() {
            prop_assert_eq!(id, &ids[at]);
            prop_assert_eq!(*found, place.filter(|_| at + 1 < ids.len()));
        }
    }
}

/// Whatever may be written with the words of the notation, right or wrong.
fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value as Json, json};
    let keys = "after node data transform apply http map pass switch when to default for_each items \
                max_parallel errors body nodes output loop while max_iterations expand flow wait \
                signal until method path query headers jq secret content_type mode callback match \
                aggregate retry attempts backoff on timeout idempotent pure fallback value \
                compensate set a b";
    let keys: Vec<_> = keys.split_whitespace().collect();
    let leaf = prop::sample::select(vec![
        json!("a"),
        json!("."),
        json!("5m"),
        json!("http://h"),
        json!("all"),
        json!("("),
        json!(3),
        json!(-1.5),
        json!(true),
        Json::Null,
    ]);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let key = prop::sample::select(keys.clone()).prop_map(str::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            3 => prop::collection::vec((key, inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn a_wait_survives_what_no_flow_may_say() {
    let endless = Retry::exponential(u32::MAX, Duration::MAX..Duration::MAX);
    for jitter in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 2.0] {
        for attempt in [0, 1, 32, 33, u32::MAX] {
            assert!(endless.wait_after(attempt, jitter) <= Duration::from_secs(366 * 86_400));
        }
    }
}

#[test]
fn a_path_has_one_text() {
    for bad in [
        "",
        "/",
        "a//b",
        "a[01]/b",
        "a[+1]/b",
        "a[-1]/b",
        "a[1/b",
        "a]/b",
        "a[99999999999999999999]/b",
    ] {
        assert!(StepPath::from(bad).segments().is_err(), "{bad:?}");
    }
}

#[test]
fn a_refused_name_is_told_in_short() {
    let error = "x.y.".repeat(1000).parse::<FunctionName>().unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}

#[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
enum Only {
    Done,
}

/// The output of a flow's single closure on 0.
fn output(make: impl FnOnce(&turlough_sdk::FlowBuilder)) -> Result<Value, StepError> {
    let flow = Flow::builder("f");
    make(&flow);
    let flow = flow.build().unwrap();
    let Operation::Map(map) = &flow.graph().nodes[0].operation else {
        panic!("no map")
    };
    let Closure::Sync(closure) = &map.closure else {
        panic!("not sync")
    };
    closure(&Inputs {
        context: turlough_sdk::Context::default(),
        members: vec![("input".into(), Some(Value::encode(&0).unwrap()))],
    })
}

#[test]
fn a_closure_that_gives_nothing_gives_the_empty_value() {
    let nothing = output(|flow| {
        let give = |_: u8| -> Result<(), StepError> { Ok(()) };
        flow.map("a", &flow.input::<u8>(), give);
    });
    assert!(nothing.unwrap().is_empty());
    let only = output(|flow| {
        let give = |_: u8| -> Result<Only, StepError> { Ok(Only::Done) };
        flow.map("a", &flow.input::<u8>(), give);
    });
    assert_eq!(only.unwrap().decode::<Only>().unwrap(), Only::Done);
}

#[test]
fn a_raw_body_must_be_what_it_says() {
    let body = |content_type: ContentType, bytes: &'static [u8]| {
        output(|flow| {
            let give = move |_: u8| -> Result<Body, StepError> {
                Ok(Body {
                    content_type: content_type.clone(),
                    bytes: bytes::Bytes::from_static(bytes),
                })
            };
            flow.map("a", &flow.input::<u8>(), give);
        })
    };
    assert_eq!(
        body(ContentType::BYTES, b"\xff").unwrap().body()[..],
        [0xff]
    );
    assert_eq!(
        body(ContentType::JSON, b" {} ").unwrap().body()[..],
        b" {} "[..]
    );
    for (content_type, bytes) in [
        (ContentType::JSON, &b"{"[..]),
        (ContentType::MSGPACK, &[0x91]),
    ] {
        let error = body(content_type, bytes).unwrap_err();
        assert!(!error.cause.may_retry(), "{error}");
        assert!(
            error
                .message
                .starts_with("cannot encode a value of type Body: it is not application/"),
            "{error}"
        );
    }
}
