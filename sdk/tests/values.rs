//! Values: what goes in comes out, whatever the bytes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use turlough_sdk::{ContentType, Expression, Inputs, Producer, Value};

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>()
            .prop_filter("JSON has no other", |n| n.is_finite())
            .prop_map(Json::from),
        ".{0,40}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Json::from),
            prop::collection::btree_map(".{0,8}", inner, 0..8)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn any_producer() -> impl Strategy<Value = Producer> {
    prop_oneof![
        Just(Producer::Caller),
        Just(Producer::Function),
        Just(Producer::Closure),
        Just(Producer::Platform)
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("application/json".to_owned()),
        Just("application/msgpack".to_owned()),
        "[ -~]{0,300}",
    ];
    (
        text,
        any_producer(),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(text, producer, body)| Value::new(ContentType::new(&text), producer, &body))
}

fn json_value(json: &Json) -> Value {
    Value::new(
        ContentType::JSON,
        Producer::Function,
        json.to_string().as_bytes(),
    )
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(json in any_json()) {
        let packed = Value::encode(&json).unwrap();
        prop_assert_eq!(&packed.decode::<Json>().unwrap(), &json);
        prop_assert_eq!(&json_value(&json).decode::<Json>().unwrap(), &json);
    }

    #[test]
    fn messagepack_and_json_hold_the_same(json in any_json()) {
        let (kind, left) = Value::encode(&json).unwrap().leaving(false).unwrap();
        prop_assert_eq!(kind, ContentType::JSON);
        prop_assert_eq!(&serde_json::from_slice::<Json>(&left).unwrap(), &json);
        let text = json_value(&json);
        let map = Value::map(&[("a", &text)]).unwrap().decode::<Json>().unwrap();
        prop_assert_eq!(&map["a"], &json);
    }

    #[test]
    fn an_envelope_keeps_any_body(value in any_value()) {
        let back = Value::from_envelope(value.envelope().clone()).unwrap();
        prop_assert_eq!(back.body(), value.body());
        prop_assert_eq!(back.content_type(), value.content_type());
        prop_assert_eq!(back.producer(), value.producer());
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Value::from_envelope(Bytes::from(bytes.clone()));
        let mut framed = vec![0x93, 0xd9];
        framed.extend(&bytes);
        let _ = Value::from_envelope(Bytes::from(framed));
        for kind in [ContentType::JSON, ContentType::MSGPACK] {
            for producer in [Producer::Function, Producer::Closure] {
                let value = Value::new(kind.clone(), producer, &bytes);
                let _ = value.decode::<Json>();
                let _ = value.items();
                let _ = value.leaving(false);
                let _ = Value::map(&[("a", &value), ("b", &value)]);
                let _ = Expression::compile(".").unwrap().run(&value);
            }
        }
    }

    #[test]
    fn a_list_of_the_items_is_the_list(items in prop::collection::vec(any_json(), 0..40)) {
        let list = Json::from(items);
        for value in [json_value(&list), Value::encode(&list).unwrap()] {
            let again = Value::list(&value.items().unwrap()).unwrap();
            prop_assert_eq!(&again.decode::<Json>().unwrap(), &list);
        }
    }

    #[test]
    fn a_join_never_corrupts_its_neighbours(value in any_value()) {
        let good = Value::encode(&7).unwrap();
        // What a closure made is trusted here; it is checked where it is made.
        prop_assume!(matches!(value.producer(), Producer::Caller | Producer::Function));
        if let Ok(join) = Value::map(&[("a", &value), ("good", &good)]) {
            prop_assert_eq!(join.items().unwrap().len(), 2);
            prop_assert_eq!(&join.items().unwrap()[1].body(), &good.body());
        }
        if let Ok(list) = Value::list(&[value, good]) {
            prop_assert_eq!(list.items().unwrap().len(), 2);
        }
    }

    #[test]
    fn what_came_from_outside_leaves_untouched(value in any_value(), msgpack: bool) {
        prop_assume!(matches!(value.producer(), Producer::Caller | Producer::Function));
        let (kind, body) = value.leaving(msgpack).unwrap();
        prop_assert_eq!(&kind, value.content_type());
        prop_assert_eq!(body, value.body());
    }

    #[test]
    fn jq_gives_back_what_it_was_given(json in any_json()) {
        let same = Expression::compile(".").unwrap();
        for value in [json_value(&json), Value::encode(&json).unwrap()] {
            prop_assert_eq!(&same.run(&value).unwrap().decode::<Json>().unwrap(), &json);
        }
    }

    #[test]
    fn jq_text_of_any_kind_does_not_panic(text in "[.\\[\\]{}()|,:;a-c0-9\" $\\\\@+*/-]{0,60}") {
        if let Ok(expression) = Expression::compile(&text) {
            prop_assert_eq!(expression.source(), text);
        }
    }
}

#[test]
fn numbers_keep_their_extremes_and_jq_their_digits() {
    let numbers = json!([
        i64::MIN,
        i64::MAX,
        u64::MAX,
        f64::MAX,
        f64::MIN_POSITIVE,
        -0.0,
        0.1
    ]);
    let value = Value::encode(&numbers).unwrap();
    let (_, left) = value.leaving(false).unwrap();
    assert_eq!(serde_json::from_slice::<Json>(&left).unwrap(), numbers);
    let text = Value::new(
        ContentType::JSON,
        Producer::Caller,
        b"[1.0,100000000000000000000,1.50]",
    );
    let same = Expression::compile(".").unwrap().run(&text).unwrap();
    assert_eq!(same.body()[..], b"[1.0,100000000000000000000,1.50]"[..]);
}

fn jq(source: &str, input: &Value) -> Result<String, String> {
    let output = Expression::compile(source).unwrap().run(input);
    let output = output.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.body()).into_owned())
}

#[test]
fn jq_gives_valid_json_or_bytes_or_an_error() {
    let nothing = Value::empty();
    assert_eq!(
        jq("[nan, infinite, -infinite]", &nothing).unwrap(),
        "[null,null,null]"
    );
    assert_eq!(jq("\"01.5\" | tonumber", &nothing).unwrap(), "1.5");
    assert_eq!(
        jq("\"a\\u0000\\\"\\u007f\"", &nothing).unwrap(),
        "\"a\\u0000\\\"\u{7f}\""
    );
    let image = Value::new(ContentType::new("image/png"), Producer::Caller, &[0xff, 0]);
    let same = Expression::compile(".").unwrap().run(&image).unwrap();
    assert_eq!(
        (same.content_type(), &same.body()[..]),
        (&ContentType::BYTES, &[0xff, 0][..])
    );
    let join = Value::map(&[("image", &image), ("n", &Value::encode(&3).unwrap())]).unwrap();
    assert_eq!(jq(".n", &join).unwrap(), "3");
    assert_eq!(
        jq(".", &join).unwrap_err(),
        "jq expression \".\" failed: its output holds bytes, which JSON cannot; take them out"
    );
}

#[test]
fn jq_can_neither_see_nor_end_the_process() {
    for source in [
        "env",
        "$ENV",
        "halt",
        "halt(1)",
        "halt_error",
        "stderr",
        "input",
    ] {
        let error = Expression::compile(source).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
    }
    assert!(
        jq(
            "map(select(. > 1)) | length",
            &json_value(&json!([1, 2, 3]))
        )
        .is_ok()
    );
}

#[test]
fn what_is_nested_too_deeply_is_an_error() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for producer in [Producer::Caller, Producer::Closure] {
        let text = Value::new(ContentType::JSON, producer, deep(100_000).as_bytes());
        let mut body = vec![0x91; 100_000];
        body.push(0xc0);
        let packed = Value::new(ContentType::MSGPACK, producer, &body);
        for value in [&text, &packed] {
            assert!(value.decode::<Json>().is_err());
            assert!(Expression::compile(".").unwrap().run(value).is_err());
        }
        assert!(Value::map(&[("a", &text)]).is_err());
        assert!(packed.items().is_err());
    }
    let made = Value::new(ContentType::MSGPACK, Producer::Closure, &[0x91; 500]);
    assert!(made.leaving(false).is_err());
    let text = Value::new(ContentType::JSON, Producer::Caller, deep(128).as_bytes());
    assert_eq!(jq(".", &text).unwrap(), deep(128));
    let shallow = json_value(&json!([[1]]));
    assert_eq!(jq(".", &shallow).unwrap(), "[[1]]");
    let error = jq("reduce range(100000) as $x (null; [.])", &shallow).unwrap_err();
    assert!(
        error.ends_with("its output is nested deeper than 128"),
        "{error}"
    );
    for open in [
        "(",
        "[",
        "-",
        ".|",
        "1+",
        "if 1 then ",
        "def f:",
        ". as $x|",
        "\"\\(",
    ] {
        let _ = Expression::compile(&open.repeat(16_000 / open.len()));
    }
    let depth = 127;
    let text = "(".repeat(depth) + "1" + &")".repeat(depth);
    assert_eq!(jq(&text, &shallow).unwrap(), "1");
}

#[test]
fn a_member_that_is_not_what_it_says_is_refused() {
    let good = Value::encode(&1).unwrap();
    for (kind, body) in [
        (ContentType::JSON, &b"1,2"[..]),
        (ContentType::JSON, b"{"),
        (ContentType::MSGPACK, &[0x92, 1]),
        (ContentType::MSGPACK, &[1, 2]),
    ] {
        let bad = Value::new(kind, Producer::Function, body);
        assert!(Value::list(std::slice::from_ref(&bad)).is_err(), "{body:?}");
        let error = Value::map(&[("bad", &bad), ("good", &good)]).unwrap_err();
        assert!(
            error.to_string().contains("as what it says it is"),
            "{error}"
        );
    }
    let nothing = Value::new(ContentType::JSON, Producer::Function, b"");
    let list = Value::list(&[nothing, json_value(&json!(1))]).unwrap();
    assert_eq!(list.decode::<Json>().unwrap(), json!([null, 1]));
}

#[test]
fn a_join_leaves_as_json_unless_a_member_is_binary() {
    let json = json_value(&json!({"a": 1}));
    let packed = Value::encode(&[2]).unwrap();
    let binary = Value::new(ContentType::new("text/csv"), Producer::Function, b"\xff,1");
    let nothing = Value::empty();
    let members = [("json", &json), ("packed", &packed), ("nothing", &nothing)];
    let join = Value::map(&members).unwrap();
    let (kind, body) = join.leaving(false).unwrap();
    assert_eq!(kind, ContentType::JSON);
    assert_eq!(
        body[..],
        br#"{"json":{"a":1},"packed":[2],"nothing":null}"#[..]
    );
    assert_eq!(join.leaving(true).unwrap().0, ContentType::MSGPACK);
    let join = Value::map(&[("json", &json), ("binary", &binary)]).unwrap();
    let (kind, body) = join.leaving(false).unwrap();
    assert_eq!(kind, ContentType::MSGPACK);
    assert!(body.windows(3).any(|bytes| bytes == b"\xff,1"));
}

#[test]
fn keys_that_are_no_text_become_text_in_json() {
    let map = std::collections::BTreeMap::from([(1_u8, "a"), (200, "b")]);
    let (_, body) = Value::encode(&map).unwrap().leaving(false).unwrap();
    assert_eq!(body[..], br#"{"1":"a","200":"b"}"#[..]);
    assert_eq!(
        jq(".", &Value::encode(&map).unwrap()).unwrap(),
        r#"{"1":"a","200":"b"}"#
    );
    // A list as a key has no text.
    let odd = Value::new(ContentType::MSGPACK, Producer::Closure, &[0x81, 0x91, 1, 2]);
    assert!(odd.leaving(false).is_err());
    assert!(jq(".", &odd).is_err());
}

#[test]
fn a_media_type_is_known_in_any_case_and_with_parameters() {
    for (text, json, msgpack) in [
        ("Application/JSON; charset=utf-8", true, false),
        ("application/problem+json", true, false),
        ("application/X-MsgPack", false, true),
        ("text/plain", false, false),
    ] {
        let kind = ContentType::new(text);
        assert_eq!(
            (kind.is_json(), kind.is_msgpack()),
            (json, msgpack),
            "{text}"
        );
    }
    assert_eq!(ContentType::new(&"x".repeat(256)), ContentType::BYTES);
}

#[test]
fn two_cases_of_one_switch_are_one_input() {
    let value = Value::encode(&5).unwrap();
    let inputs = |members: &[(&str, Option<&Value>)]| Inputs {
        context: turlough_sdk::Context::default(),
        members: members
            .iter()
            .map(|(name, value)| ((*name).into(), value.cloned()))
            .collect(),
    };
    let joined = inputs(&[("route", None), ("route", Some(&value))])
        .joined()
        .unwrap();
    assert_eq!(joined, value);
    let joined = inputs(&[("a", None), ("b", Some(&value))])
        .joined()
        .unwrap();
    assert_eq!(joined.decode::<Json>().unwrap(), json!({"b": 5}));
    assert!(inputs(&[("a", None)]).joined().unwrap().is_empty());
}
