//! Word of a request's end: to callbacks and to the parent, with retries, each under one id.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use tracing::warn;
use turlough_sdk::StepError;
use turlough_statestore::Event;
use turlough_statestore::event::{Delivery, Outcome, Recipient};

use super::{DriveError, Driver};
use crate::clock::now_us;
use crate::engine::{ControlError, TAKE_OVERS_DEAD};
use crate::fault::{Fault, planted};
use crate::outside::Refused;
use crate::shared::{Finished, Shared, status_of};

/// How often word is sent before it is given up, and the first and the longest wait in between: some
/// five minutes in all.
const TRIES_MAX: u32 = 10;
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long to wait before a parent is told again whose log could not be asked: that is no try.
const AWAY_WAIT: Duration = Duration::from_secs(1);
/// How long a receiver may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

impl Driver {
    /// Delivers all that is owed, side by side; each is recorded as it is taken or given up. What was told
    /// to a parent whose log may have lost it is told once more. After a take-over they go one by one:
    /// at the third, the first of them is what its replicas died of.
    pub(super) async fn deliver_all(&mut self, finished: &Finished) -> Result<(), DriveError> {
        let take_overs = self.execution.take_overs();
        if take_overs >= TAKE_OVERS_DEAD
            && !planted(Fault::DeliveredForEver)
            && let Some(first) = self.execution.owed().first()
        {
            let (id, why) = (first.id, format!("{take_overs} replicas that sent it died"));
            self.delivered(id, None, Some(why)).await?;
        }
        let at_once = if take_overs > 0 { 1 } else { usize::MAX };
        while self.execution.is_ended() && !self.execution.owed().is_empty() {
            let mut sending = tokio::task::JoinSet::new();
            for delivery in self.execution.owed().iter().take(at_once).cloned() {
                let (shared, finished) = (Arc::clone(&self.shared), finished.clone());
                let about = Word {
                    request: self.request.to_string(),
                    flow: self.execution.flow().name().to_string(),
                    call_id: self.context.accepted.call_id.clone(),
                    accepted_us: self.context.accepted.at_us,
                };
                let is_log = matches!(delivery.to, Recipient::Parent(_));
                let era = is_log.then_some(self.era);
                sending.spawn(async move {
                    let id = delivery.id;
                    (id, era, send(&shared, &about, &delivery, &finished).await)
                });
            }
            while let Some(sent) = sending.join_next().await {
                // A task that was lost is owed still, and delivered again.
                let Ok((id, era, error)) = sent else { continue };
                self.delivered(id, era, error).await?;
            }
        }
        Ok(())
    }

    /// Records that word was taken, or given up; not where the connection on which a log took it is lost.
    async fn delivered(
        &mut self,
        id: u128,
        era: Option<u64>,
        error: Option<String>,
    ) -> Result<(), DriveError> {
        if let Some(error) = &error {
            warn!(request = %self.request, %error, "word of a request's end was given up");
        }
        let delivered = Event::Delivered {
            id,
            error,
            at_us: now_us(),
        };
        loop {
            let is_owed = self.execution.owed().iter().any(|owed| owed.id == id);
            let may_be_lost = era.is_some_and(|era| era != self.era);
            if !is_owed || may_be_lost && !planted(Fault::LostWordTold) {
                return Ok(());
            }
            self.execution.apply(&delivered);
            if self.commit(vec![delivered.clone()], None).await? {
                return Ok(());
            }
            self.refold().await?;
        }
    }
}

/// What word is about.
struct Word {
    request: String,
    flow: String,
    call_id: Option<String>,
    accepted_us: u64,
}

/// Sends word until it is taken. An error where it is given up.
async fn send(
    shared: &Arc<Shared>,
    about: &Word,
    delivery: &Delivery,
    finished: &Finished,
) -> Option<String> {
    let (mut wait, mut left) = (WAIT_MIN, TRIES_MAX);
    loop {
        let sent = match &delivery.to {
            Recipient::Parent(parent) => match shared.tell_parent(parent, finished).await {
                Ok(()) => return None,
                Err(error @ ControlError::TooLarge { .. }) => return Some(error.to_string()),
                Err(ControlError::Log(_, error) | ControlError::Read(_, error))
                    if error.passes() && !planted(Fault::StateUsesTries) =>
                {
                    tokio::time::sleep(AWAY_WAIT).await;
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Recipient::Url(url) | Recipient::OpenFaasUrl(url) => {
                match post(shared, url, about, delivery, finished).await {
                    Posted::Taken => return None,
                    Posted::Refused(why) => return Some(why),
                    Posted::Again(why) => why,
                }
            }
        };
        left -= 1;
        if left == 0 {
            return Some(sent);
        }
        let jitter = f64::from(delivery.id as u32 ^ left) / f64::from(u32::MAX);
        tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * jitter)).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

enum Posted {
    Taken,
    /// It will not be taken, however often it is sent.
    Refused(String),
    Again(String),
}

async fn post(
    shared: &Shared,
    url: &str,
    about: &Word,
    delivery: &Delivery,
    finished: &Finished,
) -> Posted {
    let (media, body) = match (&finished.outcome, &finished.output) {
        (_, Some(output)) => match output.leaving(false) {
            Ok((media, body)) => (media.as_str().to_owned(), body),
            Err(error) => return Posted::Refused(error.to_string()),
        },
        (outcome, None) => {
            let text = serde_json::json!({
                "request": about.request,
                "flow": about.flow,
                "status": outcome.status(),
                "error": why(outcome),
            });
            ("application/json".to_owned(), text.to_string().into())
        }
    };
    let mut call = shared
        .outside
        .request(Method::POST, url)
        .timeout(ANSWER_WAIT_MAX)
        .header("content-type", media)
        .header("x-turlough-request-id", &about.request)
        .header("x-turlough-flow", &about.flow)
        .header("x-turlough-status", finished.outcome.status())
        .header("x-turlough-delivery-id", format!("{:032x}", delivery.id))
        .body(body);
    if matches!(delivery.to, Recipient::OpenFaasUrl(_)) {
        call = as_a_gateway(call, shared, about, finished);
    }
    match shared.outside.send(call).await {
        Ok(answer) if answer.status().is_success() => Posted::Taken,
        Ok(answer) => {
            let status = answer.status();
            let text = format!("callback {url} answered {status}");
            let passes = status.is_server_error() || [408, 429].contains(&status.as_u16());
            if passes {
                Posted::Again(text)
            } else {
                Posted::Refused(text)
            }
        }
        Err(error) if Refused::of(&error).is_some() => Posted::Refused(format!(
            "callback {url}: {}",
            StepError::from(error).message
        )),
        Err(error) => Posted::Again(format!(
            "callback {url}: {}",
            StepError::from(error).message
        )),
    }
}

/// What OpenFaaS's gateway says beside, when it calls back.
fn as_a_gateway(
    call: RequestBuilder,
    shared: &Shared,
    about: &Word,
    finished: &Finished,
) -> RequestBuilder {
    let took_us = now_us().saturating_sub(about.accepted_us);
    let took = Duration::from_micros(took_us).as_secs_f64();
    let call = call
        .header("x-function-name", shared.settings.function.to_string())
        .header("x-function-status", status_of(&finished.outcome).as_u16())
        .header("x-duration-seconds", format!("{took:.6}"));
    match &about.call_id {
        Some(id) => call.header("x-call-id", id),
        None => call,
    }
}

fn why(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Failed {
            step,
            message,
            cause,
        } => {
            serde_json::json!({ "step": step.as_str(), "message": message, "cause": cause })
        }
        _ => serde_json::Value::Null,
    }
}
