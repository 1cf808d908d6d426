//! Collectors that do not what they should: requests go on, and what is lost is counted.

use std::time::Duration;

use turlough_testing::{Behaviour, Collector};

use super::platform::Platform;
use super::{traced, traced_by};

const ONE: &str = "flow: one\nnodes: { a: { pass: . } }";

async fn metric(platform: &Platform, name: &str) -> u64 {
    let text = platform.http.get(format!("{}/metrics", platform.direct));
    let text = text.send().await.unwrap().text().await.unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

async fn until_metric(platform: &Platform, name: &str, at_least: u64) {
    for _ in 0..3_000 {
        if metric(platform, name).await >= at_least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} is {}, not {at_least}", metric(platform, name).await);
}

const SENT: &str = "turlough_spans_sent_total";
const REFUSED: &str = "turlough_spans_lost_total{why=\"refused\"";
const UNREACHABLE: &str = "turlough_spans_lost_total{why=\"unreachable\"";

async fn run(platform: &Platform) {
    assert_eq!(platform.post("/one", "7").await.status(), 200);
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_and_not_sent_again() {
    let (platform, collector) = traced(&[ONE], |_| {}).await;
    collector.behave(Behaviour::Answers(400));
    run(&platform).await;
    until_metric(&platform, REFUSED, 3).await;
    let refused = metric(&platform, REFUSED).await;
    let calls = collector.calls().len();
    collector.behave(Behaviour::Refuses(2));
    run(&platform).await;
    until_metric(&platform, REFUSED, refused + 2).await;
    assert_eq!(collector.calls().len(), calls + 1);
    assert!(metric(&platform, SENT).await > 0);
    collector.behave(Behaviour::Garbage);
    let sent = metric(&platform, SENT).await;
    run(&platform).await;
    until_metric(&platform, SENT, sent + 3).await;
    assert_eq!(metric(&platform, REFUSED).await, refused + 2);
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_nothing_is_lost() {
    let (platform, collector) = traced(&[ONE], |_| {}).await;
    collector.behave(Behaviour::Answers(503));
    run(&platform).await;
    while collector.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    collector.behave(Behaviour::Takes);
    until_metric(&platform, SENT, 3).await;
    assert_eq!(metric(&platform, UNREACHABLE).await, 0);
    assert!(collector.spans().iter().any(|span| span.name == "flow one"));
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_not_there_costs_spans_and_nothing_else() {
    let hung = Collector::start().await;
    hung.behave(Behaviour::Hangs);
    let mut gone = hung.clone();
    // Nobody listens on the port of discard.
    gone.url = "http://127.0.0.1:9".to_owned();
    for collector in [hung, gone] {
        let platform = traced_by(&collector, &[ONE], |s| {
            s.traces.otlp_timeout = Duration::from_millis(50);
        })
        .await;
        for _ in 0..20 {
            run(&platform).await;
        }
        until_metric(&platform, UNREACHABLE, 60).await;
        assert_eq!(metric(&platform, SENT).await, 0);
    }
}

#[tokio::test]
async fn a_collector_is_sent_the_headers_that_it_wants() {
    let (platform, collector) = traced(&[ONE], |s| {
        s.traces
            .otlp_headers
            .insert("api-key", "s3cret".parse().unwrap());
    })
    .await;
    run(&platform).await;
    until_metric(&platform, SENT, 1).await;
    assert_eq!(collector.calls()[0]["api-key"], "s3cret");
}

#[tokio::test]
async fn what_is_told_last_is_sent_before_the_process_ends() {
    let (mut platform, collector) = traced(&[ONE], |_| {}).await;
    for _ in 0..50 {
        run(&platform).await;
    }
    platform.shutdown.cancel();
    let server = platform.server.take().unwrap();
    server.await.unwrap().unwrap();
    let spans = collector.spans();
    let roots = spans.iter().filter(|span| span.name == "flow one");
    assert_eq!(roots.count(), 50);
}
