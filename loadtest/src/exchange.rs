//! One call whose answer is known, and how long it took.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value as Json;

/// A POST of JSON, and what must come back with 200.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) url: String,
    pub(crate) body: Json,
    pub(crate) expected: Json,
}

/// How an answer differs from what it must be.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// 200, and another body.
    Wrong(String),
    /// Another status, or no answer.
    Failed(String),
}

impl Exchange {
    /// From sending to the last byte of the answer; the comparison is not in it.
    pub(crate) async fn make(&self, http: &reqwest::Client) -> (Duration, Result<(), Flaw>) {
        let sent = Instant::now();
        let exchange = async {
            let answer = http.post(&self.url).json(&self.body).send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        let answer = exchange.await;
        let took = sent.elapsed();
        let Self { body, expected, .. } = self;
        let result = match answer {
            Ok((status, bytes)) if status == 200 => match serde_json::from_slice::<Json>(&bytes) {
                Ok(found) if found == *expected => Ok(()),
                _ => Err(Flaw::Wrong(format!(
                    "{} gave {}, expected {}",
                    shortened(&body.to_string()),
                    shortened(&String::from_utf8_lossy(&bytes)),
                    shortened(&expected.to_string())
                ))),
            },
            Ok((status, bytes)) => Err(Flaw::Failed(format!(
                "{} gave {status}: {}",
                shortened(&body.to_string()),
                shortened(&String::from_utf8_lossy(&bytes))
            ))),
            Err(error) => Err(Flaw::Failed(format!(
                "{}: {error:?}",
                shortened(&body.to_string())
            ))),
        };
        (took, result)
    }

    /// As [`make`](Self::make), where one flaw ends the measurement.
    pub(crate) async fn must(&self, http: &reqwest::Client) -> anyhow::Result<Duration> {
        let (took, result) = self.make(http).await;
        result
            .map_err(|flaw| match flaw {
                Flaw::Wrong(text) | Flaw::Failed(text) => anyhow::anyhow!(text),
            })
            .with_context(|| format!("call {}", self.url))?;
        Ok(took)
    }
}

/// Lists of ten thousand numbers are no help in a message.
fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
