//! The shape of a trace.

use std::time::Duration;

use turlough_testing::Span;

use super::{drawn, only, trace_of, traced, unsampled};

const WORK: &str = r#"
flow: work
nodes:
  call: { apply: flaky, retry: { attempts: 3, backoff: 1ms..2ms } }
  route:
    after: [call]
    switch:
      - { when: ". == null", to: never }
      - { default: many }
  never: { pass: "1" }
  many:
    pass: "[1, 2]"
  each:
    after: [many]
    for_each:
      items: "."
      body:
        nodes:
          twice: { pass: ". * 2" }
          said: { after: [twice], apply: echo }
  poll:
    after: [each]
    loop:
      while: "length < 4"
      max_iterations: 5
      body: { nodes: { more: { pass: ". + [0]" } } }
"#;

#[tokio::test]
async fn a_request_is_a_tree_of_steps_and_attempts() {
    let (platform, collector) = traced(&[WORK], |_| {}).await;
    let id = platform.begin("/work", "7").await;
    platform.ended(&id).await;
    let spans = collector.trace_with(&trace_of(&id), "flow work").await;
    let expected = "\
flow work (server)
  call step=call attempts=3
    apply flaky (client) step=call attempt=1 ! function flaky answered 503 Service Unavailable: \"\"
    apply flaky (client) step=call attempt=2 ! function flaky answered 503 Service Unavailable: \"\"
    apply flaky (client) step=call attempt=3
  each step=each attempts=2
    for_each split step=each attempt=1 items=2
    for_each step=each attempt=2
    each/said step=each[0]/said attempts=1
      apply echo (client) step=each[0]/said attempt=1
    each/twice step=each[0]/twice attempts=1
      pass step=each[0]/twice attempt=1
    each/said step=each[1]/said attempts=1
      apply echo (client) step=each[1]/said attempt=1
    each/twice step=each[1]/twice attempts=1
      pass step=each[1]/twice attempt=1
  many step=many attempts=1
    pass step=many attempt=1
  poll step=poll attempts=3
    loop while step=poll attempt=1
    loop while step=poll attempt=2
    loop while step=poll attempt=3
    poll/more step=poll#1/more attempts=1
      pass step=poll#1/more attempt=1
    poll/more step=poll#2/more attempts=1
      pass step=poll#2/more attempt=1
  route step=route attempts=1
    switch step=route attempt=1
";
    let drawn = drawn(&spans);
    assert_eq!(drawn, expected, "{drawn}");
    let root = only(&spans, "flow work");
    assert_eq!(root.parent, "");
    assert_eq!(root.about["turlough.outcome"], "succeeded");
    for span in &spans {
        assert!(
            root.times.0 <= span.times.0 && span.times.1 <= root.times.1 + 1_000_000_000,
            "{span:?}"
        );
        assert_eq!(span.resource["service.name"], "flows");
    }
}

#[tokio::test]
async fn each_span_says_whose_it_is_and_calls_say_whom_they_call() {
    let (platform, collector) = traced(&["flow: one\nnodes: { a: { apply: echo } }"], |s| {
        s.traces.service_name = Some("orders".to_owned());
    })
    .await;
    let call = platform.http.post(format!("{}/one", platform.url));
    let answer = call
        .header("x-call-id", "c-1")
        .body("7")
        .send()
        .await
        .unwrap();
    let id = super::platform::id_of(&answer);
    let spans = collector.trace_with(&trace_of(&id), "flow one").await;
    let call = only(&spans, "apply echo");
    let about = |name: &str| call.about.get(name).map(String::as_str);
    for (name, value) in [
        ("turlough.tenant", "default"),
        ("turlough.flow", "one"),
        ("turlough.request_id", &id),
        ("turlough.step", "a"),
        ("turlough.attempt", "1"),
        ("faas.invoked_name", "echo"),
        ("faas.invoked_provider", "openfaas"),
        ("http.request.method", "POST"),
    ] {
        assert_eq!(about(name), Some(value), "{name}: {call:?}");
    }
    let root = only(&spans, "flow one");
    assert_eq!(root.about["faas.invocation_id"], "c-1");
    assert_eq!(root.resource["service.name"], "orders");
    assert_eq!(root.events[0].0, "claimed");
    let step = only(&spans, "a");
    assert_eq!((&step.parent, &call.parent), (&root.id, &step.id));
    let appends: Vec<_> = spans.iter().filter(|it| it.name == "log.append").collect();
    assert!(!appends.is_empty());
    for append in appends {
        assert_eq!(
            (append.parent.as_str(), append.kind),
            (root.id.as_str(), "producer")
        );
        assert_eq!(append.about["messaging.system"], "memory");
    }
}

#[tokio::test]
async fn values_that_are_put_and_read_are_spans_of_the_attempts_that_do() {
    let flow =
        "flow: large\nnodes: { a: { pass: '\"x\" * 9000' }, b: { after: [a], pass: length } }";
    let (platform, collector) = traced(&[flow], |_| {}).await;
    let id = platform.begin("/large", "7").await;
    platform.ended(&id).await;
    let spans = collector.trace_with(&trace_of(&id), "flow large").await;
    let of = |span: &Span| {
        let parent = spans.iter().find(|it| it.id == span.parent).unwrap();
        parent.about["turlough.step"].clone()
    };
    let put = only(&spans, "data.put");
    let got = only(&spans, "data.get");
    assert_eq!((of(put), of(got)), ("a".to_owned(), "b".to_owned()));
    for span in [put, got] {
        let size: u64 = span.about["turlough.value.bytes"].parse().unwrap();
        assert!((9_000..9_100).contains(&size), "{span:?}");
        assert!(!span.about["server.address"].is_empty(), "{span:?}");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_a_driver_says_so() {
    let flows = ["flow: slow\nnodes: { a: { wait: 300ms } }"];
    let (platform, collector) = traced(&flows, |s| s.capacity = 1).await;
    let first = platform.begin("/slow", "1").await;
    let second = platform.begin("/slow", "2").await;
    platform.ended(&second).await;
    let spans = collector.trace_with(&trace_of(&second), "flow slow").await;
    let (queue, root) = (only(&spans, "queue"), only(&spans, "flow slow"));
    assert_eq!((&queue.parent, queue.kind), (&root.id, "consumer"));
    let waited = Duration::from_nanos(queue.times.1 - queue.times.0);
    assert!(waited > Duration::from_millis(100), "{waited:?}");
    let spans = collector.trace_with(&trace_of(&first), "flow slow").await;
    assert!(!spans.iter().any(|span| span.name == "queue"), "{spans:?}");
}

#[tokio::test]
async fn what_fails_is_told_though_nothing_else_is() {
    let flows = [
        "flow: bad\nnodes: { a: { pass: . }, b: { after: [a], apply: refuse } }",
        "flow: good\nnodes: { a: { pass: . } }",
    ];
    let (platform, collector) = traced(&flows, unsampled).await;
    let good = platform.begin("/good", "1").await;
    platform.ended(&good).await;
    let bad = platform.begin("/bad", "1").await;
    platform.stands(&bad, "failed").await;
    let spans = collector.trace_with(&trace_of(&bad), "flow bad").await;
    let drawn = drawn(&spans);
    let expected = "\
flow bad (server) ! function refuse answered 422 Unprocessable Entity: \"no such customer\"
  a step=a attempts=1
    pass step=a attempt=1
  b step=b attempts=1 ! function refuse answered 422 Unprocessable Entity: \"no such customer\"
    apply refuse (client) step=b attempt=1 ! function refuse answered 422 Unprocessable Entity: \"no such customer\"
";
    assert_eq!(drawn, expected);
    let (name, about) = &only(&spans, "apply refuse").events[0];
    assert_eq!(
        (name.as_str(), about["exception.type"].as_str()),
        ("exception", "permanent")
    );
    assert!(about["exception.message"].contains("422"), "{about:?}");
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| span.trace != trace_of(&good))
    );
}
