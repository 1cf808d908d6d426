//! Who runs the steps: a flow-function behind a gateway, or a peer behind a URL of its own.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use crate::exchange::Exchange;
use crate::flow::{self, FlowText, Step};

/// Where the number that goes through the steps begins.
const START: u64 = 1;

#[derive(Debug, Clone, Args)]
pub(crate) struct GatewayArguments {
    /// Gateway to send to
    #[arg(
        long,
        env = "TURLOUGH_GATEWAY_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) gateway: String,

    /// Function that serves the flows
    #[arg(long, default_value = "flows")]
    pub(crate) function: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SubjectArguments {
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,

    /// Function that answers a number with the next one
    #[arg(long, default_value = "noop")]
    pub(crate) noop: String,

    /// Measures a peer in place of a flow: it is posted {"steps": N, "start": n}, and answers n + N;
    /// for a fan-out {"items": [n, …]}, and answers each n + 1
    #[arg(long)]
    pub(crate) url: Option<String>,

    /// What one call is compared with: it is posted a number, and answers the next one
    /// [default: the no-op function behind the gateway; with --url nothing]
    #[arg(long, value_name = "URL")]
    pub(crate) baseline_url: Option<String>,
}

/// A flow-function behind a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) http: reqwest::Client,
    url: String,
    function: String,
}

impl Gateway {
    pub(crate) fn new(arguments: &GatewayArguments) -> anyhow::Result<Self> {
        Ok(Self {
            http: client()?,
            url: arguments.gateway.trim_end_matches('/').to_owned(),
            function: arguments.function.clone(),
        })
    }

    pub(crate) fn function_url(&self, function: &str) -> String {
        format!("{}/function/{function}", self.url)
    }

    /// A path of the flow-function.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.function_url(&self.function))
    }

    pub(crate) async fn put(&self, flow: &FlowText) -> anyhow::Result<()> {
        let url = self.path(&format!("flows/{}", flow.name));
        let put = async {
            let answer = self.http.put(&url).body(flow.yaml.clone()).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            if !status.is_success() {
                bail!("{status}: {text}");
            }
            Ok(())
        };
        put.await.with_context(|| format!("put {url}"))
    }

    /// A metric of the flow-function's: the sum of all its lines of that name; none where it is not.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.http.get(self.path("metrics")).send().await.ok()?;
        let text = text.text().await.ok()?;
        sum_of_metric(&text, name)
    }

    /// Requests that have not ended, up to 1,000; asked again for up to 30 s, since the end is told
    /// before the last record of it is written.
    pub(crate) async fn still_open(&self, status: &str) -> anyhow::Result<usize> {
        let mut open = 0;
        for _ in 0..300 {
            let url = self.path(&format!("requests?status={status}&limit=1000"));
            let list: Json = self
                .http
                .get(&url)
                .send()
                .await?
                .error_for_status()
                .with_context(|| format!("ask {url} which requests are open"))?
                .json()
                .await?;
            open = list["requests"].as_array().map_or(0, Vec::len);
            if open == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(open)
    }
}

/// Who is measured.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) gateway: Gateway,
    noop: String,
    peer: Option<String>,
    baseline: Option<String>,
}

impl Subject {
    pub(crate) fn new(arguments: &SubjectArguments) -> anyhow::Result<Self> {
        let gateway = Gateway::new(&arguments.gateway)?;
        let baseline = arguments.baseline_url.clone();
        let baseline = baseline.or_else(|| {
            let ours = arguments.url.is_none();
            ours.then(|| gateway.function_url(&arguments.noop))
        });
        Ok(Self {
            gateway,
            noop: arguments.noop.clone(),
            peer: arguments.url.clone(),
            baseline,
        })
    }

    /// What it is called in a report.
    pub(crate) fn name(&self) -> String {
        let peer = self.peer.clone();
        peer.unwrap_or_else(|| self.gateway.function_url(&self.gateway.function))
    }

    /// One call of the no-op function, if there is one to be compared with.
    pub(crate) fn baseline(&self) -> Option<Exchange> {
        self.baseline.clone().map(|url| Exchange {
            url,
            body: json!(START),
            expected: json!(START + 1),
        })
    }

    /// A path of the flow-function that does next to nothing: what it costs to be called.
    pub(crate) fn entry(&self) -> Option<String> {
        let ours = self.peer.is_none();
        ours.then(|| self.gateway.path("_/health"))
    }

    /// Puts the flow where it is one.
    pub(crate) async fn chain(&self, step: Step, steps: u64) -> anyhow::Result<Exchange> {
        let expected = json!(START + steps);
        if let Some(url) = self.peer.clone() {
            let body = json!({ "steps": steps, "start": START });
            return Ok(Exchange {
                url,
                body,
                expected,
            });
        }
        let flow = flow::chain(step, steps, &self.noop);
        self.gateway.put(&flow).await?;
        Ok(Exchange {
            url: self.gateway.path(&flow.name),
            body: json!(START),
            expected,
        })
    }

    /// Puts the flow where it is one.
    pub(crate) async fn fanout(
        &self,
        branches: u64,
        max_parallel: u64,
    ) -> anyhow::Result<Exchange> {
        let items: Vec<u64> = (START..START + branches).collect();
        let expected: Vec<u64> = items.iter().map(|n| n + 1).collect();
        let expected = json!(expected);
        if let Some(url) = self.peer.clone() {
            let body = json!({ "items": items });
            return Ok(Exchange {
                url,
                body,
                expected,
            });
        }
        let flow = flow::fanout(max_parallel, &self.noop);
        self.gateway.put(&flow).await?;
        Ok(Exchange {
            url: self.gateway.path(&flow.name),
            body: json!(items),
            expected,
        })
    }
}

/// One minute is what a gateway waits; a peer may take longer.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .timeout(Duration::from_secs(600))
        .build()?;
    Ok(client)
}

fn sum_of_metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.starts_with(' ').then_some(rest)?,
        };
        rest.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_is_taken_for_it() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"}\"} 3.5\na_count 7\nb 1\n";
        assert_eq!(sum_of_metric(text, "a"), Some(5.5));
        assert_eq!(sum_of_metric(text, "a_count"), Some(7.0));
        assert_eq!(sum_of_metric(text, "c"), None);
    }
}
