//! Traces as a collector takes them.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../platform/mod.rs"]
mod platform;

mod collectors;
mod links;
mod parents;
mod tree;

use std::collections::HashMap;

use platform::Platform;
use turlough_flow_function::{SamplerName, Settings};
use turlough_sdk::read_yaml;
use turlough_testing::{Collector, Span};

/// A platform whose flows are traced.
async fn traced(flows: &[&str], change: impl FnOnce(&mut Settings)) -> (Platform, Collector) {
    let collector = Collector::start().await;
    let platform = traced_by(&collector, flows, change).await;
    (platform, collector)
}

async fn traced_by(
    collector: &Collector,
    flows: &[&str],
    change: impl FnOnce(&mut Settings),
) -> Platform {
    let flows = flows.iter().map(|text| read_yaml(text).unwrap()).collect();
    Platform::with(flows, |settings| {
        settings.traces.otlp_endpoint = Some(collector.url.parse().unwrap());
        settings.keep_failed = std::time::Duration::from_secs(600);
        change(settings);
    })
    .await
}

fn unsampled(settings: &mut Settings) {
    settings.traces.traces_sampler = SamplerName::ParentBasedAlwaysOff;
}

/// The trace of a request that was not part of another.
fn trace_of(request: &str) -> String {
    request.replace('-', "")
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found[..] else {
        panic!("{} spans {name}: {spans:#?}", found.len());
    };
    span
}

/// Spans as a tree, those of appends left out: name, kind where it is not internal, step and attempt, and
/// the error.
fn drawn(spans: &[Span]) -> String {
    let mut below: HashMap<&str, Vec<&Span>> = HashMap::new();
    let ids: Vec<_> = spans.iter().map(|span| span.id.as_str()).collect();
    for span in spans.iter().filter(|span| span.name != "log.append") {
        let is_known = ids.contains(&span.parent.as_str());
        let parent = if is_known { span.parent.as_str() } else { "" };
        below.entry(parent).or_default().push(span);
    }
    let mut text = String::new();
    draw(&below, "", 0, &mut text);
    text
}

fn draw(below: &HashMap<&str, Vec<&Span>>, of: &str, depth: usize, text: &mut String) {
    let mut spans = below.get(of).cloned().unwrap_or_default();
    let key = |span: &Span| span.about.get("turlough.step").cloned();
    spans.sort_by_key(|span| (key(span), span.times, span.name.clone()));
    for span in spans {
        let mut line = format!("{:1$}{2}", "", depth * 2, span.name);
        if span.kind != "internal" {
            line.push_str(&format!(" ({})", span.kind));
        }
        for name in [
            "turlough.step",
            "turlough.attempt",
            "turlough.attempts",
            "turlough.items",
        ] {
            if let Some(value) = span.about.get(name) {
                line.push_str(&format!(" {}={value}", &name["turlough.".len()..]));
            }
        }
        if let Some(error) = &span.error {
            line.push_str(&format!(" ! {error}"));
        }
        text.push_str(&line);
        text.push('\n');
        draw(below, &span.id, depth + 1, text);
    }
}
