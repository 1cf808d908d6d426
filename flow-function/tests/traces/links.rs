//! What is not part of a trace and belongs to it: sub-flows, restarts, what was made again.

use super::{drawn, only, trace_of, traced};

#[tokio::test]
async fn a_sub_flow_is_a_trace_of_its_own_that_names_the_attempt() {
    let flows = [
        "flow: outer\nnodes: { sub: { flow: inner } }",
        "flow: inner\nnodes: { a: { pass: . } }",
    ];
    let (platform, collector) = traced(&flows, |_| {}).await;
    let id = platform.begin("/outer", "7").await;
    platform.ended(&id).await;
    let spans = collector.trace_with(&trace_of(&id), "flow outer").await;
    let attempt = only(&spans, "flow");
    let list: serde_json::Value = platform.json(&format!("/requests?parent={id}")).await;
    let child = list["requests"][0]["id"].as_str().unwrap();
    let inner = collector.trace_with(&trace_of(child), "flow inner").await;
    let root = only(&inner, "flow inner");
    assert_eq!(root.parent, "");
    let [link] = &root.links[..] else {
        panic!("{root:?}");
    };
    assert_eq!((&link.trace, &link.span), (&attempt.trace, &attempt.id));
    assert_eq!(link.about["turlough.link"], "sub-flow of");
}

#[tokio::test]
async fn a_restart_is_another_span_of_the_same_trace_that_names_the_first() {
    let flow = "flow: again\nnodes: { a: { pass: . }, b: { after: [a], apply: flaky } }";
    let (platform, collector) = traced(&[flow], |_| {}).await;
    let id = platform.begin("/again", "7").await;
    platform.stands(&id, "failed").await;
    collector.trace_with(&trace_of(&id), "flow again").await;
    assert_eq!(platform.ask(&id, "restart", "").await.0, 202);
    platform.stands(&id, "failed").await;
    assert_eq!(platform.ask(&id, "restart", "").await.0, 202);
    platform.ended(&id).await;
    let roots = || {
        let mut spans = collector.spans();
        spans.retain(|span| span.name == "flow again");
        spans.sort_by_key(|span| span.times);
        spans
    };
    while roots().len() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let roots = roots();
    for (earlier, later) in roots.iter().zip(&roots[1..]) {
        let [link] = &later.links[..] else {
            panic!("{later:?}");
        };
        assert_eq!(link.span, earlier.id);
        assert_eq!(link.about["turlough.link"], "restart of");
    }
    assert_eq!(roots[2].error, None);
    let spans = collector.spans();
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "apply flaky")
        .collect();
    assert_eq!(calls.len(), 3, "{}", drawn(&spans));
    for (earlier, later) in calls.iter().zip(&calls[1..]) {
        assert_eq!(later.links[0].span, earlier.id);
        assert_eq!(later.links[0].about["turlough.link"], "restarted");
    }
    let kept = spans.iter().filter(|span| span.name == "pass");
    assert_eq!(kept.count(), 1, "what was kept is not told again");
}
