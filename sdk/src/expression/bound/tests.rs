use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{ContentType, Expression, Producer, Value, Variables};

fn bounded(source: &str) -> bool {
    let expression = Expression::compile(source);
    expression
        .unwrap_or_else(|error| panic!("{error}"))
        .is_bounded()
}

#[test]
fn what_flows_are_usually_written_with_is_bounded() {
    for source in [
        ".",
        ".by3 and .by5",
        "\"FizzBuzz\"",
        ".n",
        "{answer: [.[]][0]}",
        ".age < 18",
        "\"hi \\(.name), \\(.age + 1)\"",
        "[.lines[] | select(.count > 0)]",
        "map({id, name: .title, kind: \"customer\"})",
        "{a: ., b: ., c: {d: $request, $attempt, e: $headers.host}}",
        ".a.b[0].c? // \"none\"",
        "if .kind == \"a\" then .x elif . == null then 1 else empty end",
        ".price * 3 + length * 1000",
        ".total = (.a + .b) | .count += 1 | del(.lines)",
        ".items | map(.id | tostring) | length",
        "[.[] | {k: .key, v: .value}] | sort | .[:10]",
        "$input.customers[2:4]",
        "-1",
        ". | [., .] | [., .] | [., .] | [., .] | [., .]",
        "map(select(.lang | startswith(\"d\")))",
    ] {
        assert!(bounded(source), "{source}");
    }
}

#[test]
fn what_may_never_end_or_grow_is_not_bounded() {
    let seven = format!(".{}", " | [., .]".repeat(7));
    let doubling = format!(".{}", " | [., .]".repeat(40));
    let adding = format!(".{}", " | . + .".repeat(40));
    let quoting = format!(".{}", " | tojson".repeat(40));
    let growing = format!("\"ab\"{}", " | . * 16".repeat(12));
    let fanning = format!(".{}", " | [.[] | [\"a\", \"b\", \"c\"]]".repeat(20));
    for source in [
        "def f: f; f",
        "def f: 1 + f; f",
        "repeat(.)",
        "[range(1e12)]",
        "[limit(1e10; repeat(1))]",
        "\"x\" * 1e10",
        "\"x\" * 100000000",
        "\"x\" * .n",
        "until(false; .)",
        "while(true; .)",
        "recurse",
        "[recurse(.)]",
        "..",
        "reduce .[] as $x (0; . + $x)",
        "foreach .[] as $x (0; . + $x)",
        "test(\"(a+)+b\")",
        "[splits(\"a\")]",
        "gsub(\"a\"; \"b\")",
        "label $f | break $f",
        "fromjson",
        "tonumber",
        "try error catch .",
        "[.[] + .[]]",
        "[.[] as $x | .[]]",
        "[.[] | $input]",
        "[.[] | $input[]]",
        "[$input[] | $headers]",
        "{(.): 1}",
        "[paths]",
        "walk(.)",
        "combinations",
        ".[.n]",
        ".[[1]]",
        "has([1])",
        "contains([1])",
        "env | .",
        "flatten",
        "group_by(.a)",
        "transpose",
        "implode",
        "getpath([1])",
        "setpath([1]; 1)",
        ".[] = 1",
        ".[] |= [., .]",
        ".a *= 1000000",
        "input",
        &seven,
        &doubling,
        &adding,
        &quoting,
        &growing,
        &fanning,
    ] {
        // Some of them are not even there.
        if let Ok(expression) = Expression::compile(source) {
            assert!(!expression.is_bounded(), "{source}");
        }
    }
}

#[test]
fn only_variables_that_are_mentioned_are_used() {
    let uses = |source| Expression::compile(source).unwrap().uses();
    assert_eq!(uses(".request"), crate::Uses::default());
    let found = uses("\"\\($flow) of \\({$input})\" + ($error.cause // \"\")");
    assert!(found.flow && found.input && found.error);
    assert!(!found.request && !found.node && !found.query && !found.vars);
}

#[test]
fn variables_are_what_was_given() {
    let variables = Variables {
        request: "r1".to_owned(),
        attempt: 2,
        query: serde_json::json!({ "lang": "de" }),
        input: Some(Value::encode(&[7, 8]).unwrap()),
        ..Variables::default()
    };
    let run = |source: &str| {
        let expression = Expression::compile(source).unwrap();
        let output = expression.run(&Value::empty(), &variables).unwrap();
        String::from_utf8(output.body().to_vec()).unwrap()
    };
    assert_eq!(
        run("[$request, $attempt, $query.lang, $input[1], $error, $flow]"),
        r#"["r1",2,"de",8,null,""]"#
    );
    assert_eq!(run("def f($input): $input + 1; f($attempt)"), "3");
    let same = variables.only(Expression::compile("$query").unwrap().uses());
    assert_eq!(same.query, variables.query);
    assert!(same.request.is_empty() && same.input.is_none());
}

#[test]
fn an_unknown_variable_is_refused_and_the_known_ones_are_listed() {
    for source in ["$item", "$ENV", "$__prog_args", ". as $x | $y", "{$items}"] {
        let error = Expression::compile(source).unwrap_err().to_string();
        assert!(error.contains("unknown variable $"), "{error}");
        assert!(
            error.contains("there are $request, $flow, $node"),
            "{error}"
        );
        assert!(error.ends_with("$vars, $error"), "{error}");
    }
}

#[test]
fn numbers_of_many_digits_and_keys_that_are_maps_are_refused() {
    let same = Expression::compile(".").unwrap();
    let run = |value: &Value| same.run(value, &Variables::default());
    let digits = format!("[\"{0}\", {0}]", "7".repeat(200_000));
    let digits = Value::new(ContentType::JSON, Producer::Caller, digits.as_bytes());
    let error = run(&digits).unwrap_err().to_string();
    assert!(error.contains("200000 digits, limit 1000"), "{error}");
    // A map whose only key is a map whose only key is a map.
    let keys = [vec![0x81; 100], vec![0xc0; 101]].concat();
    let keys = Value::new(ContentType::MSGPACK, Producer::Caller, &keys);
    let error = run(&keys).unwrap_err().to_string();
    assert!(error.contains("a key is a list or a map"), "{error}");
}

/// Texts of allowed constructs: some are refused all the same, for what they multiply to.
fn source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("."),
        Just(".a"),
        Just(".[]"),
        Just(".[0]"),
        Just(".[1:3]"),
        Just(".a.b?"),
        Just("\"text\\n\""),
        Just("12"),
        Just("1.5e300"),
        Just("[]"),
        Just("null"),
        Just("empty"),
        Just("length"),
        Just("keys"),
        Just("tojson"),
        Just("tostring"),
        Just("type"),
        Just("sort"),
        Just("reverse"),
        Just("to_entries"),
        Just("floor"),
        Just("@base64"),
        Just("@uri"),
        Just("$request"),
        Just("$input"),
        Just("split(\"\")"),
        Just("any"),
        Just("ascii_upcase"),
        Just("del(.a)"),
        Just("not"),
    ];
    leaf.prop_map(str::to_owned)
        .prop_recursive(6, 40, 3, |inner| {
            let two = (inner.clone(), inner.clone());
            let operators = prop::sample::select(vec![
                "|", "|", "|", ",", "+", "-", "/", "%", "*", "//", "and", "==", "<",
            ]);
            prop_oneof![
                (two, operators).prop_map(|((a, b), op)| format!("({a}) {op} ({b})")),
                inner.clone().prop_map(|a| format!("[{a}]")),
                inner.clone().prop_map(|a| format!("({a})?")),
                inner.clone().prop_map(|a| format!("-({a})")),
                inner.clone().prop_map(|a| format!("map({a})")),
                inner.clone().prop_map(|a| format!("select({a})")),
                inner.clone().prop_map(|a| format!("\"\\({a}) and \\(.)\"")),
                inner.clone().prop_map(|a| format!(".long_name = ({a})")),
                inner.clone().prop_map(|a| format!(".a |= ({a})")),
                inner.clone().prop_map(|a| format!(".[0] += ({a})")),
                inner.clone().prop_map(|a| format!("({a}) * 7")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{a: ({a}), b: ({b})}}")),
                (inner.clone(), inner.clone(), inner)
                    .prop_map(|(a, b, c)| format!("if {a} then {b} else {c} end")),
            ]
        })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-z\u{1}\"\\\\é]{0,60}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 60, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Into::into),
            prop::collection::btree_map("[ab\u{1}]{0,2}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_output_and_no_time_is_past_the_bound(source in source(), json in json(), packed: bool) {
        let expression = Expression::compile(&source).unwrap();
        let input = if packed {
            Value::encode(&json).unwrap()
        } else {
            Value::new(ContentType::JSON, Producer::Caller, json.to_string().as_bytes())
        };
        let variables = Variables {
            request: "request".to_owned(),
            input: Some(input.clone()),
            ..Variables::default()
        };
        if let Some(bound) = expression.bound(&input, &variables) {
            let begin = Instant::now();
            let output = expression.run(&input, &variables);
            // Without optimisation a byte takes longer, and the machine has other things to do.
            let limit = Duration::from_nanos(bound.work * 50) + Duration::from_millis(200);
            prop_assert!(begin.elapsed() < limit, "{source} took {:?}", begin.elapsed());
            let size = output.map_or(0, |output| output.body().len() as u64);
            prop_assert!(size <= bound.output_bytes, "{source}: {size} of {}", bound.output_bytes);
        }
    }
}
