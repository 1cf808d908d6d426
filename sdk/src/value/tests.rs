use super::*;

fn json(text: &str) -> Value {
    Value::new(ContentType::JSON, Producer::Function, text.as_bytes())
}

#[test]
fn an_envelope_reads_back() {
    let value = Value::new(
        ContentType::new("image/png"),
        Producer::Function,
        &[0xff, 0xfe],
    );
    let back = Value::from_envelope(value.envelope().clone()).unwrap();
    assert_eq!(back, value);
    assert_eq!(back.body().as_ref(), [0xff, 0xfe]);
    for cut in 0..value.envelope().len() {
        assert!(
            Value::from_envelope(value.envelope().slice(..cut)).is_err(),
            "{cut}"
        );
    }
}

#[test]
fn what_a_function_returned_leaves_untouched() {
    let odd = json("{ \"a\" :1.0}");
    assert_eq!(odd.leaving(false).unwrap().1.as_ref(), b"{ \"a\" :1.0}");
}

#[test]
fn what_a_closure_made_leaves_as_json_unless_it_holds_binary() {
    let made = Value::encode(&vec![1, 2]).unwrap();
    assert_eq!(
        made.leaving(false).unwrap(),
        (ContentType::JSON, Bytes::from_static(b"[1,2]"))
    );
    assert_eq!(made.leaving(true).unwrap().0, ContentType::MSGPACK);
    let image = Value::new(ContentType::new("image/png"), Producer::Function, &[0xff]);
    let join = Value::map(&[("made", &made), ("image", &image)]).unwrap();
    assert_eq!(join.leaving(false).unwrap().0, ContentType::MSGPACK);
}

#[test]
fn items_and_list_are_inverse_in_both_formats() {
    for list in [
        json("[1, {\"a\": [2]}, \"x\"]"),
        Value::encode(&(1, "x", [2.5])).unwrap(),
    ] {
        let items = list.items().unwrap();
        assert_eq!(items.len(), 3);
        let again: serde_json::Value = Value::list(&items).unwrap().decode().unwrap();
        assert_eq!(again, list.decode::<serde_json::Value>().unwrap());
    }
    assert!(Value::empty().items().unwrap().is_empty());
    assert!(json("3").items().is_err());
    assert_eq!(json("{\"a\": 1, \"b\": 2}").items().unwrap()[1], json("2"));
}

#[test]
fn members_come_out_under_their_keys_and_bytes_as_bytes() {
    let image = Value::new(ContentType::new("image/png"), Producer::Function, &[0xff]);
    let join = Value::map(&[("n", &json("1")), ("image", &image)]).unwrap();
    let members = join.members().unwrap();
    assert_eq!(members[0].0, "n");
    assert_eq!(members[0].1.decode::<u8>().unwrap(), 1);
    let raw = Value::new(ContentType::BYTES, Producer::Platform, &[0xff]);
    assert_eq!(members[1], ("image".to_owned(), raw));
    let numbered = Value::encode(&std::collections::BTreeMap::from([(7, "x")])).unwrap();
    assert_eq!(numbered.members().unwrap()[0].0, "7");
    assert!(Value::empty().members().unwrap().is_empty());
    assert!(json("[1]").members().is_err());
    assert!(Value::encode(&[1]).unwrap().members().is_err());
}

#[test]
fn an_empty_body_decodes_as_nothing() {
    assert_eq!(Value::empty().decode::<Option<u8>>().unwrap(), None);
    Value::empty().decode::<()>().unwrap();
    assert!(Value::empty().decode::<u8>().is_err());
}
