//! Requests: each is begun until some replica took it, and asked and told what its flow is about.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::flows::{KINDS, Kind};
use super::platform::{Platform, TOKEN};
use super::random::Random;

/// A request that is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    pub(crate) input: u64,
    /// Whether its end is to be told to a callback.
    pub(crate) is_told: bool,
    /// Whether its caller waits for its end.
    waits: bool,
    /// Between what is said to it.
    pause: Duration,
}

/// What became of it for its caller.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) asked: Asked,
    pub(crate) id: String,
    /// What was answered as it must not be.
    pub(crate) wrong: Option<String>,
}

impl Asked {
    pub(crate) fn draw(number: usize, random: &mut Random) -> Self {
        Self {
            number,
            // What must not be repeated comes more often than the rest.
            kind: match usize::try_from(random.below(KINDS.len() as u64 + 4)).unwrap() {
                drawn if drawn < KINDS.len() => KINDS[drawn],
                _ => Kind::Once,
            },
            input: random.below(1_000),
            is_told: random.below(3) == 0,
            waits: random.below(6) == 0,
            pause: Duration::from_millis(random.below(1_000)),
        }
    }
}

/// Makes a request. An error where nobody took it in time.
pub(crate) async fn make(
    platform: Arc<Platform>,
    asked: Asked,
    told: String,
    patience: Duration,
) -> Result<Begun, String> {
    let until = Instant::now() + patience;
    let (flow, input) = (asked.kind.name(), asked.input.to_string());
    let url = format!("{}/function/flows/{flow}", platform.gateway_url);
    let (mut id, mut wrong) = (None, None);
    while id.is_none() {
        let key = format!("request-{}", asked.number);
        let mut call = platform.http.post(&url).header("idempotency-key", key);
        if asked.is_told {
            let told = format!("{told}/{}", asked.number);
            call = call.header("x-turlough-callback-url", told);
        }
        if !asked.waits {
            call = call.header("prefer", "respond-async");
        }
        let call = call.header("content-type", "application/json");
        let limit = Duration::from_secs(if asked.waits { 30 } else { 10 });
        if let Ok(answer) = call.timeout(limit).body(input.clone()).send().await {
            let status = answer.status();
            // A gateway that begins does not know its functions yet.
            let is_early = answer.headers().contains_key("x-openfaas-internal");
            let header = answer.headers().get("x-turlough-request-id").cloned();
            id = header.map(|id| id.to_str().unwrap().to_owned());
            if id.is_some() && status == StatusCode::OK {
                let right = asked.kind.right(asked.input);
                // An answer may break off, and then nothing was said.
                let said = answer.json::<Json>().await.ok();
                if said.is_some() && said != right {
                    wrong = Some(format!("its caller was answered {said:?}, not {right:?}"));
                }
            }
            let is_refusal = status.is_client_error() && ![408, 429].contains(&status.as_u16());
            if is_refusal && !is_early && id.is_none() {
                let why = format!("request {} of {flow} was refused: {status}", asked.number);
                return Err(why);
            }
        }
        if id.is_none() && Instant::now() > until {
            return Err(format!(
                "request {} of {flow}: no replica took it",
                asked.number
            ));
        }
        if id.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let id = id.unwrap_or_default();
    if asked.kind == Kind::Asks {
        for (turn, value) in [asked.input, asked.input + 1].into_iter().enumerate() {
            tokio::time::sleep(asked.pause).await;
            let key = format!("signal-{}-{turn}", asked.number);
            let url = format!(
                "{}/function/flows/requests/{id}/signals/go",
                platform.gateway_url
            );
            let call = || {
                let call = platform.http.post(&url).header("idempotency-key", &key);
                call.header("content-type", "application/json")
                    .body(value.to_string())
            };
            say(call, until).await.map_err(|why| {
                format!("signal {turn} to request {} ({id}): {why}", asked.number)
            })?;
        }
    }
    Ok(Begun { asked, id, wrong })
}

/// Says something until it is heard. Said again under its key it is answered as the first time, so
/// that no refusal is right.
async fn say(call: impl Fn() -> RequestBuilder, until: Instant) -> Result<(), String> {
    loop {
        let call = call().bearer_auth(TOKEN).timeout(Duration::from_secs(10));
        if let Ok(answer) = call.send().await {
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let is_early = answer.headers().contains_key("x-openfaas-internal");
            if status.is_client_error() && !is_early && ![408, 429].contains(&status.as_u16()) {
                let text = answer.text().await.unwrap_or_default();
                return Err(format!("it was refused: {status} {text}"));
            }
        }
        if Instant::now() > until {
            return Err("no replica took it".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
