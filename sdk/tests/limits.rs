//! Retries, durations, ids and envelopes at the edges of their ranges.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use proptest::prelude::*;
use turlough_sdk::{
    Body, Closure, ContentType, Flow, FunctionName, Inputs, NodeId, Operation, RequestId, Retry,
    StepError, StepPath, Value, format_duration, parse_duration,
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
        if let Ok(id) = text.parse::<NodeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn an_id_reads_back(uuid: u128) {
        let id = RequestId::from_uuid(uuid::Uuid::from_u128(uuid));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_step_path_reads_back(names in prop::collection::vec("[a-z0-9][a-z0-9_-]{0,9}", 1..6), index: usize) {
        let ids: Vec<NodeId> = names.iter().map(|name| name.parse().unwrap()).collect();
        let path = ids[1..].iter().fold(StepPath::root(&ids[0]), |path, id| path.item(index, id));
        let segments = path.segments().unwrap();
        prop_assert_eq!(segments.len(), ids.len());
        for (at, (id, item)) in segments.iter().enumerate() {
            prop_assert_eq!(id, &ids[at]);
            prop_assert_eq!(*item, (at + 1 < ids.len()).then_some(index));
        }
    }
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
