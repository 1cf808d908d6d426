//! The same thing in several sizes, measured in turns: one of each size, then the calls that it is
//! compared with, and again. What one more costs is taken from neighbours in time, so that a machine
//! that is slower for a while is slower for both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::exchange::Exchange;
use crate::report;
use crate::statistics::{marginal, median, quantile, quantiles_us, rounded, us};

#[derive(Debug, Clone, Args)]
pub(crate) struct SeriesArguments {
    /// Turns per round and sender: one request of each size, and the calls it is compared with
    #[arg(long, short = 'n', default_value_t = 50)]
    pub(crate) requests: u64,

    /// Rounds; the figures are medians over them
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u64,

    /// Turns before the first round, which are not counted
    #[arg(long, default_value_t = 10)]
    pub(crate) warm_up: u64,

    /// Requests in flight
    #[arg(long, short = 'c', default_value_t = 1)]
    pub(crate) concurrency: u64,
}

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// By size, at least one.
    pub(crate) sizes: BTreeMap<u64, Exchange>,
    /// A single call, to be compared with what one more costs.
    pub(crate) baseline: Option<Exchange>,
    /// A GET that does next to nothing.
    pub(crate) entry: Option<String>,
}

/// Nanoseconds, in the order in which they were measured; all lists go by turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    pub(crate) sizes: BTreeMap<u64, Vec<u64>>,
    /// Sums over `baseline_calls` calls each.
    pub(crate) baseline: Vec<u64>,
    pub(crate) entry: Vec<u64>,
}

/// What the samples say. Times in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    /// What one more costs, turn by turn; empty where there is but one size.
    pub(crate) steps: Vec<f64>,
    /// The same of each round: from the medians of its times.
    pub(crate) rounds: Vec<f64>,
    /// One call of the baseline, by round.
    pub(crate) calls: Vec<f64>,
}

impl Series {
    /// As many as lie between the two largest sizes, so that both are measured for as long.
    fn baseline_calls(&self) -> u64 {
        match two_largest(&self.sizes) {
            Some((small, large)) => large - small,
            None => self.sizes.keys().next().copied().unwrap_or(1),
        }
        .min(1_000)
    }

    /// Rounds of turns, and what came of them.
    pub(crate) async fn measure(
        &self,
        http: &reqwest::Client,
        arguments: &SeriesArguments,
        unit: &str,
    ) -> anyhow::Result<Vec<Samples>> {
        ensure!(!self.sizes.is_empty(), "no sizes; name one");
        let shared = Arc::new(self.clone());
        self.turns(http, &shared, arguments.warm_up, 1)
            .await
            .context("warm up")?;
        let mut rounds = Vec::new();
        for number in 1..=arguments.rounds {
            let begin = Instant::now();
            let (requests, senders) = (arguments.requests, arguments.concurrency.max(1));
            let round = self.turns(http, &shared, requests, senders).await?;
            let cost = Costs::of(std::slice::from_ref(&round), self.baseline_calls());
            let per = cost.rounds.first().map_or_else(String::new, |ns| {
                format!(", {} µs per {unit}", report::number(ns / 1e3))
            });
            report::progress(&format!(
                "round {number} of {} took {:.1} s{per}",
                arguments.rounds,
                begin.elapsed().as_secs_f64()
            ));
            rounds.push(round);
        }
        Ok(rounds)
    }

    async fn turns(
        &self,
        http: &reqwest::Client,
        shared: &Arc<Self>,
        turns: u64,
        senders: u64,
    ) -> anyhow::Result<Samples> {
        let mut tasks = JoinSet::new();
        for _ in 0..senders {
            let (series, http) = (Arc::clone(shared), http.clone());
            tasks.spawn(async move {
                let mut samples = Samples::default();
                for _ in 0..turns {
                    series.turn(&http, &mut samples).await?;
                }
                anyhow::Ok(samples)
            });
        }
        let mut all = Samples::default();
        while let Some(ended) = tasks.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    }

    async fn turn(&self, http: &reqwest::Client, samples: &mut Samples) -> anyhow::Result<()> {
        for (&size, exchange) in &self.sizes {
            let took = nanoseconds(exchange.must(http).await?);
            samples.sizes.entry(size).or_default().push(took);
        }
        if let Some(call) = &self.baseline {
            let mut sum = 0;
            for _ in 0..self.baseline_calls() {
                sum += nanoseconds(call.must(http).await?);
            }
            samples.baseline.push(sum);
        }
        if let Some(url) = &self.entry {
            let sent = Instant::now();
            let answer = http.get(url).send().await?.error_for_status()?;
            answer.bytes().await?;
            samples.entry.push(nanoseconds(sent.elapsed()));
        }
        Ok(())
    }

    /// Everything that the samples say, and the samples where `raw` asks for them.
    pub(crate) fn report(&self, rounds: &[Samples], raw: bool) -> Json {
        let calls = self.baseline_calls();
        let mut all = Samples::default();
        for round in rounds {
            all.extend(round.clone());
        }
        let costs = Costs::of(rounds, calls);
        let sizes: Vec<Json> = all
            .sizes
            .iter()
            .map(|(size, samples)| {
                json!({ "size": size, "requests": samples.len(), "us": quantiles_us(samples, 1) })
            })
            .collect();
        let mut report = json!({ "sizes": sizes, "each_us": costs.each() });
        if !all.baseline.is_empty() {
            report["baseline"] = json!({
                "calls_per_turn": calls,
                "turns": all.baseline.len(),
                "us_per_call": quantiles_us(&all.baseline, calls),
            });
            report["ratio"] = costs.ratio().into();
            report["ratio_rounds"] = costs.ratios().into();
        }
        if !all.entry.is_empty() {
            report["entry_us"] = quantiles_us(&all.entry, 1);
        }
        if let Some((size, samples)) = all.sizes.first_key_value() {
            let first: Vec<f64> = samples.iter().map(|&ns| ns as f64).collect();
            report["fixed_us"] = us(median(&first) - *size as f64 * median(&costs.rounds)).into();
        }
        if raw {
            report["raw_ns"] = json!({
                "sizes": all.sizes.iter().map(|(size, list)| (size.to_string(), json!(list)))
                    .collect::<serde_json::Map<_, _>>(),
                "baseline": all.baseline,
                "entry": all.entry,
            });
        }
        report
    }
}

impl Samples {
    fn extend(&mut self, other: Self) {
        for (size, samples) in other.sizes {
            self.sizes.entry(size).or_default().extend(samples);
        }
        self.baseline.extend(other.baseline);
        self.entry.extend(other.entry);
    }

    fn median_of(&self, size: u64) -> f64 {
        let samples = self.sizes.get(&size).map_or(&[][..], Vec::as_slice);
        median(&samples.iter().map(|&ns| ns as f64).collect::<Vec<_>>())
    }
}

impl Costs {
    pub(crate) fn of(rounds: &[Samples], baseline_calls: u64) -> Self {
        let mut costs = Self {
            steps: Vec::new(),
            rounds: Vec::new(),
            calls: Vec::new(),
        };
        for round in rounds {
            if let Some((small, large)) = two_largest(&round.sizes) {
                let turns = round.sizes[&small].iter().zip(&round.sizes[&large]);
                costs
                    .steps
                    .extend(turns.map(|(&a, &b)| marginal((small, a as f64), (large, b as f64))));
                let small = (small, round.median_of(small));
                let large = (large, round.median_of(large));
                costs.rounds.push(marginal(small, large));
            }
            if !round.baseline.is_empty() {
                let sums: Vec<f64> = round.baseline.iter().map(|&ns| ns as f64).collect();
                costs.calls.push(median(&sums) / baseline_calls as f64);
            }
        }
        costs
    }

    /// Cost of one more over cost of one call, by round.
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.rounds.iter().zip(&self.calls);
        pairs.map(|(step, call)| rounded(step / call)).collect()
    }

    fn ratio(&self) -> f64 {
        rounded(median(&self.ratios()))
    }

    fn each(&self) -> Json {
        let rounds: Vec<f64> = self.rounds.iter().map(|&ns| us(ns)).collect();
        json!({
            "median": us(median(&self.rounds)),
            "p50": us(quantile(&self.steps, 0.5)),
            "p90": us(quantile(&self.steps, 0.9)),
            "p99": us(quantile(&self.steps, 0.99)),
            "rounds": rounds,
        })
    }
}

fn two_largest<T>(sizes: &BTreeMap<u64, T>) -> Option<(u64, u64)> {
    let mut keys = sizes.keys().rev().copied();
    let (large, small) = (keys.next()?, keys.next()?);
    Some((small, large))
}

fn nanoseconds(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of 30 ns and a fixed cost of 500; calls of 20 ns; in the second turn all takes twice as
    /// long.
    fn round(slower: u64) -> Samples {
        let turns = |time: u64| vec![time * slower, 2 * time * slower, time * slower];
        Samples {
            sizes: [1, 10, 100].map(|n| (n, turns(500 + 30 * n))).into(),
            baseline: turns(90 * 20),
            entry: turns(100),
        }
    }

    fn series() -> Series {
        let exchange = Exchange {
            url: String::new(),
            body: Json::Null,
            expected: Json::Null,
        };
        Series {
            sizes: [1, 10, 100].map(|n| (n, exchange.clone())).into(),
            baseline: Some(exchange),
            entry: None,
        }
    }

    #[test]
    fn what_one_more_costs_is_compared_within_its_round() {
        let costs = Costs::of(&[round(1), round(3), round(1)], 90);
        assert_eq!(costs.rounds, [30.0, 90.0, 30.0]);
        assert_eq!(costs.calls, [20.0, 60.0, 20.0]);
        assert_eq!(costs.ratios(), [1.5, 1.5, 1.5]);
        assert_eq!(costs.steps[..3], [30.0, 60.0, 30.0]);
    }

    #[test]
    fn a_report_has_the_fixed_cost_and_the_samples_if_asked() {
        let report = series().report(&[round(1)], false);
        assert_eq!(report["ratio"], 1.5);
        assert_eq!(report["fixed_us"], 0.5);
        assert_eq!(report["baseline"]["calls_per_turn"], 90);
        assert_eq!(report["each_us"]["median"], 0.03);
        assert!(report["raw_ns"].is_null());
        let report = series().report(&[round(1)], true);
        assert_eq!(report["raw_ns"]["sizes"]["1"], json!([530, 1060, 530]));
    }

    #[test]
    fn one_size_has_no_marginal_cost() {
        let mut only = round(1);
        only.sizes.retain(|&size, _| size == 10);
        let costs = Costs::of(&[only], 10);
        assert!(costs.rounds.is_empty() && costs.steps.is_empty());
        assert_eq!(costs.ratio(), 0.0);
    }
}
