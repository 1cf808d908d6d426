use turlough_sdk::Cause;

use super::*;
use crate::data::Manifest;

fn json(text: &str) -> Value {
    Value::new(ContentType::JSON, Producer::Function, text.as_bytes())
}

/// A value as JSON, so that the order of a map's members is seen.
fn text(value: &Value) -> String {
    let (content_type, body) = value.leaving(false).unwrap();
    assert!(content_type.is_json(), "{content_type:?}");
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn a_map_is_split_with_its_keys_and_put_together_under_them() {
    let packed = Value::map(&[("tea", &json("3")), ("a milk", &json("{\"x\": [1]}"))]).unwrap();
    for map in [json("{\"tea\": 3, \"a milk\": {\"x\": [1]}}"), packed] {
        let split = Split::of(&map).unwrap();
        assert_eq!(split.keys.as_deref().unwrap(), ["tea", "a milk"]);
        let items: Vec<_> = split.items.into_iter().map(Some).collect();
        let again = put_together(split.keys.as_deref(), items).unwrap();
        assert_eq!(text(&again), "{\"tea\":3,\"a milk\":{\"x\":[1]}}");
    }
    let empty = Split::of(&json(" {} ")).unwrap();
    assert_eq!((empty.items.len(), empty.keys), (0, Some(vec![])));
    assert_eq!(text(&put_together(Some(&[]), vec![]).unwrap()), "{}");
}

#[test]
fn a_list_has_no_keys_and_null_where_an_item_failed() {
    for list in [json("[1, {\"a\": 2}]"), Value::encode(&(1, 2)).unwrap()] {
        assert!(Split::of(&list).unwrap().keys.is_none());
    }
    let gathered = put_together(None, vec![Some(json("1")), None, Some(json("3"))]).unwrap();
    assert_eq!(text(&gathered), "[1,null,3]");
    let keys = ["a".to_owned(), "b".to_owned()];
    let gathered = put_together(Some(&keys), vec![None, Some(json("2"))]).unwrap();
    assert_eq!(text(&gathered), "{\"a\":null,\"b\":2}");
    assert_eq!(text(&put_together(None, vec![]).unwrap()), "[]");
}

#[test]
fn a_map_that_says_a_key_twice_or_has_keys_that_are_no_texts_is_refused() {
    let twice = Split::of(&json("{\"a\": 1, \"a\": 2}")).unwrap_err();
    assert!(twice.to_string().contains("twice"), "{twice}");
    let numbers = std::collections::BTreeMap::from([(1, "a")]);
    assert!(Split::of(&Value::encode(&numbers).unwrap()).is_err());
    assert!(Split::of(&json("3")).is_err());
}

#[test]
fn a_manifest_reads_back_with_keys_and_without() {
    let items = vec![ValueRef::Inline(json("1").envelope().clone())];
    for keys in [None, Some(vec!["a".to_owned()])] {
        let items = items.clone();
        let manifest = Manifest { items, keys };
        let back: Manifest = Value::encode(&manifest).unwrap().decode().unwrap();
        assert_eq!(back, manifest);
    }
}

#[test]
fn collected_errors_name_their_items() {
    let error = ItemError {
        index: 1,
        step: "all[1]/bad".into(),
        message: "no".to_owned(),
        cause: Cause::Permanent,
    };
    let gathered = put_together(None, vec![Some(json("1")), None]).unwrap();
    assert_eq!(
        text(&collected(&gathered, &[error]).unwrap()),
        "{\"results\":[1,null],\"errors\":[{\"index\":1,\"step\":\"all[1]/bad\",\"message\":\"no\",\
         \"cause\":\"permanent\"}]}"
    );
}

#[test]
fn a_graph_is_taken_as_data_and_as_text() {
    let yaml = "nodes: { a: { pass: . } }";
    let of = |media: &str, body: &[u8]| {
        graph_text(Value::new(
            ContentType::new(media),
            Producer::Function,
            body,
        ))
        .unwrap()
    };
    assert_eq!(of("text/yaml", yaml.as_bytes()), yaml);
    assert_eq!(of("text/plain", b"{\"nodes\": {}}"), "{\"nodes\": {}}");
    assert_eq!(
        of("application/json", b" {\"nodes\": {}}"),
        " {\"nodes\": {}}"
    );
    assert_eq!(of("application/json", b" \"nodes: {}\\n\""), "nodes: {}\n");
    let packed = Value::encode(&std::collections::BTreeMap::from([("nodes", 1)])).unwrap();
    assert_eq!(graph_text(packed.clone()).unwrap(), "{\"nodes\":1}");
    assert_eq!(of("application/msgpack", &packed.body()), "{\"nodes\":1}");
    assert_eq!(graph_text(Value::encode(yaml).unwrap()).unwrap(), yaml);
    let bytes = Value::new(ContentType::BYTES, Producer::Function, &[0xff]);
    assert!(graph_text(bytes).is_err());
    let cut = Value::new(ContentType::MSGPACK, Producer::Function, &[0x92, 1]);
    assert!(graph_text(cut).is_err());
    let long = " ".repeat(Limits::GRAPH_BYTES_MAX * 2 + 1);
    assert!(
        graph_text(json(&long))
            .unwrap_err()
            .message
            .contains("limit 393216")
    );
}

#[test]
fn a_time_is_rfc_3339_or_unix_seconds() {
    const NOW_US: u64 = 1_800_000_000_000_000;
    let check = |text: &str, expected: u64| assert_eq!(time_us(&json(text), NOW_US), Ok(expected));
    check("1800000001", 1_800_000_001_000_000);
    check("1800000000.25", 1_800_000_000_250_000);
    check("\"2027-01-15T08:00:00Z\"", 1_800_000_000_000_000);
    check("\"2027-01-15T09:00:00.5+01:00\"", 1_800_000_000_500_000);
    check("\"1969-12-31T23:59:59Z\"", 1);
    check("0", 1);
    check("-5", 1);
    check("1831622400", 1_831_622_400_000_000);
    for bad in [
        "1831622401",
        "1800000000000",
        "1e300",
        "\"9999-01-01T00:00:00Z\"",
    ] {
        let error = time_us(&json(bad), NOW_US).unwrap_err();
        assert!(error.contains("over 366 days"), "{bad}: {error}");
    }
    for bad in [
        "\"soon\"",
        "\"2027-01-15\"",
        "null",
        "[1]",
        "{}",
        "true",
        "\"1800000001\"",
    ] {
        assert!(time_us(&json(bad), NOW_US).is_err(), "{bad}");
    }
    assert!(time_us(&Value::empty(), NOW_US).is_err());
}
