//! Chains beside requests that sleep: whether what is open costs what runs.
//!
//! Invariant: what was started here is cancelled here, measured or not.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::chain;
use crate::flow::{self, Step};
use crate::report::{self, OutputArguments, number};
use crate::series::SeriesArguments;
use crate::statistics::rounded;
use crate::subject::{Gateway, Subject, SubjectArguments};

/// Measures what a step costs beside so many requests that sleep
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  turlough-loadtest open --open 10,1000\n  \
                  turlough-loadtest open --open 10,1000,100000 --starters 128 --output json\n\n\
                  A flow-function takes TURLOUGH_REQUESTS_MAX open requests, 100,000 by default: raise it for\n\
                  the chains beside them. With --keep the sleeping ones stay, to be found by a restart.")]
pub(crate) struct OpenArguments {
    /// How many requests sleep, in rising order
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 100_000])]
    open: Vec<usize>,

    /// Requests that are started or cancelled at once
    #[arg(long, default_value_t = 64)]
    starters: usize,

    /// Lengths of the chains
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    steps: Vec<u64>,

    /// Leaves the sleeping requests where they are
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    series: SeriesArguments,

    #[command(flatten)]
    subject: SubjectArguments,

    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) async fn run(arguments: OpenArguments) -> anyhow::Result<bool> {
    ensure!(
        arguments.subject.url.is_none(),
        "open starts requests of its own flow; it takes no --url"
    );
    ensure!(arguments.open.is_sorted(), "--open must rise");
    let subject = Subject::new(&arguments.subject)?;
    let mut sleepers = Vec::new();
    let measured = measure(&arguments, &subject, &mut sleepers).await;
    let (count, begin) = (sleepers.len(), Instant::now());
    if !arguments.keep {
        cancel(&subject.gateway, sleepers, arguments.starters).await?;
        let left = subject.gateway.still_open("sleeping").await?;
        ensure!(
            left == 0,
            "{left} requests sleep on after they were cancelled"
        );
    }
    let rows = measured?;
    let seconds = begin.elapsed().as_secs_f64();
    let mut text = format!(
        "{:>10}{:>14}{:>14}{:>14}{:>14}{:>10}",
        "open", "started/s", "µs per step", "p99", "of a call", "to first"
    );
    for row in &rows {
        let cell = |value: &Json| value.as_f64().map_or_else(|| "–".to_owned(), number);
        text.push_str(&format!(
            "\n{:>10}{:>14}{:>14}{:>14}{:>14}{:>10}",
            row["open"],
            cell(&row["started_per_second"]),
            cell(&row["chain"]["each_us"]["median"]),
            cell(&row["chain"]["each_us"]["p99"]),
            cell(&row["chain"]["ratio"]),
            cell(&row["to_first"]),
        ));
    }
    let mut report = json!({ "what": "open", "subject": subject.name(), "rows": rows });
    if !arguments.keep {
        report["cancelled_per_second"] = rounded(count as f64 / seconds).into();
        text.push_str(&format!("\n{count} cancelled in {} s", number(seconds)));
    }
    arguments.output.write(&report, &text)?;
    Ok(true)
}

async fn measure(
    arguments: &OpenArguments,
    subject: &Subject,
    sleepers: &mut Vec<String>,
) -> anyhow::Result<Vec<Json>> {
    let flow = flow::sleeper();
    subject.gateway.put(&flow).await?;
    let series = chain::series(subject, Step::Apply, &arguments.steps).await?;
    let (mut rows, mut first) = (Vec::new(), None);
    for &open in &arguments.open {
        let (missing, begin) = (open.saturating_sub(sleepers.len()), Instant::now());
        start(
            &subject.gateway,
            &flow.name,
            missing,
            arguments.starters,
            sleepers,
        )
        .await?;
        let seconds = begin.elapsed().as_secs_f64();
        report::progress(&format!("{open} requests sleep"));
        let http = &subject.gateway.http;
        let rounds = series.measure(http, &arguments.series, "step").await?;
        let chain = series.report(&rounds, arguments.output.raw);
        let cost = chain["each_us"]["median"].as_f64().unwrap_or(0.0);
        rows.push(json!({
            "open": open,
            "started_per_second": rounded(missing as f64 / seconds),
            "to_first": rounded(cost / *first.get_or_insert(cost)),
            "chain": chain,
        }));
    }
    Ok(rows)
}

/// Starts so many, and waits until the last one sleeps. What was started is in `ids` even where a
/// start failed.
async fn start(
    gateway: &Gateway,
    flow: &str,
    count: usize,
    at_once: usize,
    ids: &mut Vec<String>,
) -> anyhow::Result<()> {
    let (url, started) = (gateway.path(flow), Arc::new(Mutex::new(Vec::new())));
    let work = VecDeque::from(vec![(); count]);
    let ended = {
        let (http, started) = (gateway.http.clone(), Arc::clone(&started));
        side_by_side(work, at_once, move |()| {
            let (http, url, started) = (http.clone(), url.clone(), Arc::clone(&started));
            async move {
                let call = http.post(&url).header("prefer", "respond-async");
                let answer = call.json(&json!({})).send().await?;
                let status = answer.status();
                let id = answer.headers().get("x-turlough-request-id");
                let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
                let text = answer.text().await?;
                match id {
                    Some(id) if status == 202 => {
                        let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
                        started.push(id);
                    }
                    _ => bail!("start a request that sleeps: {status}: {text}"),
                }
                Ok(())
            }
        })
        .await
    };
    let started = std::mem::take(&mut *started.lock().unwrap_or_else(PoisonError::into_inner));
    let last = started.last().cloned();
    ids.extend(started);
    ended?;
    match last {
        Some(id) => sleeps(gateway, &id).await,
        None => Ok(()),
    }
}

/// Waits for up to 30 s.
async fn sleeps(gateway: &Gateway, id: &str) -> anyhow::Result<()> {
    let url = gateway.path(&format!("requests/{id}"));
    let mut found = Json::Null;
    for _ in 0..300 {
        let answer = gateway.http.get(&url).send().await?.error_for_status()?;
        found = answer.json::<Json>().await?["status"].take();
        if found == "sleeping" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("request {id} is {found} after 30 s, not sleeping");
}

async fn cancel(gateway: &Gateway, ids: Vec<String>, at_once: usize) -> anyhow::Result<()> {
    let gateway = gateway.clone();
    side_by_side(ids.into(), at_once, move |id: String| {
        let gateway = gateway.clone();
        async move {
            let url = gateway.path(&format!("requests/{id}/cancel"));
            let answer = gateway.http.post(&url).send().await?;
            let answer = answer.error_for_status().context("cancel a request")?;
            answer.bytes().await?;
            Ok(())
        }
    })
    .await
}

/// Does all of the work, so much of it at once; the first failure ends it.
async fn side_by_side<T, F, W>(work: VecDeque<T>, at_once: usize, one: F) -> anyhow::Result<()>
where
    T: Send + 'static,
    F: Fn(T) -> W + Clone + Send + 'static,
    W: Future<Output = anyhow::Result<()>> + Send,
{
    let work = Arc::new(Mutex::new(work));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once.max(1) {
        let (work, one) = (Arc::clone(&work), one.clone());
        tasks.spawn(async move {
            loop {
                let next = work
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                let Some(next) = next else {
                    return anyhow::Ok(());
                };
                one(next).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
