//! How offers go to other replicas, through the gateway.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::{HeaderMap, Method, StatusCode, header};
use reqwest::header::HeaderValue;
use tokio::time::sleep;
use tracing::debug;
use turlough_sdk::{RequestId, StepPath};
use turlough_statestore::event::StepEnded;

use super::Offer;
use super::batch::{BATCH_BYTES_MAX, BATCH_STEPS_MAX, Batch, Step, taken_home};
use crate::gateway::Call;
use crate::runner::Context;
use crate::shared::Shared;

/// How often a batch is sent that comes back to its sender, or to a replica that is full: whom the
/// gateway asks is its own choice.
const TURNS: usize = 4;
/// How long it waits in between.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a store is waited for that has what a step reads: then it is not sent.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why a batch was not run elsewhere.
#[derive(Debug, thiserror::Error)]
enum Returned {
    /// Whom the gateway asked did not want it; another may.
    #[error("the replica that was asked answered {0}")]
    Unwanted(StatusCode),
    #[error("{0}")]
    For(String),
}

impl Shared {
    /// Sends attempts to other replicas, as evenly as can be. What cannot be sent runs here.
    pub(super) fn send_away(self: &Arc<Self>, offers: Vec<Offer>, others: usize) {
        let mut by_request: HashMap<RequestId, VecDeque<Offer>> = HashMap::new();
        let share = offers.len().div_ceil(others.max(1)).min(BATCH_STEPS_MAX);
        for offer in offers {
            let list = by_request.entry(offer.context.request).or_default();
            list.push_back(offer);
        }
        for mut offers in by_request.into_values() {
            while !offers.is_empty() {
                let more = share.min(offers.len());
                let some = offers.drain(..more).collect();
                tokio::spawn(Arc::clone(self).send_some(some));
            }
        }
    }

    async fn send_some(self: Arc<Self>, offers: Vec<Offer>) {
        let Some(first) = offers.first() else { return };
        let context = Arc::clone(&first.context);
        let (packed, sent) = pack(&context, offers).await;
        let Some(packed) = packed.filter(|_| !sent.is_empty()) else {
            return;
        };
        let mut waiting: HashMap<(StepPath, u32), _> = sent
            .into_iter()
            .map(|offer| ((offer.run.step.clone(), offer.run.attempt), offer.answer))
            .collect();
        let asked = self.ask(&context, &packed);
        let nobody_waits = join_all(waiting.values_mut().map(|answer| answer.closed()));
        let answered = tokio::select! {
            answered = asked => answered,
            _ = nobody_waits => return,
        };
        // Whose sender is dropped runs here.
        match answered {
            Ok(ends) => {
                for ended in ends {
                    let key = (ended.step.clone(), ended.attempt);
                    if let Some(answer) = waiting.remove(&key)
                        && let Some(attempted) = taken_home(&context, ended).await
                    {
                        drop(answer.send(attempted));
                    }
                }
            }
            Err(returned) => {
                debug!(%returned, "steps were not run elsewhere; they run here");
                self.spread.found(0);
            }
        }
    }

    async fn ask(&self, context: &Context, batch: &Batch) -> Result<Vec<StepEnded>, Returned> {
        let body = batch
            .encode()
            .map_err(|error| Returned::For(error.to_string()))?;
        let path = format!("/function/{}/_/step", self.settings.function);
        let headers = self.step_headers(context).await;
        let mut turn = 0;
        loop {
            turn += 1;
            let call = Call {
                method: Method::POST,
                path: &path,
                headers: headers.clone(),
                body: body.clone(),
            };
            match self.ask_once(call).await {
                Err(Returned::Unwanted(_)) if turn < TURNS => sleep(AGAIN * turn as u32).await,
                answered => return answered,
            }
        }
    }

    async fn ask_once(&self, call: Call<'_>) -> Result<Vec<StepEnded>, Returned> {
        let because = |error: &dyn std::fmt::Display| Returned::For(error.to_string());
        let mut answer = self.gateway.call(call).await.map_err(|e| because(&e))?;
        let status = answer.status();
        if status != StatusCode::OK {
            answer.discard();
            return Err(match status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    Returned::Unwanted(status)
                }
                _ => because(&status),
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| because(&e))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(because(&"its answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        rmp_serde::from_slice(&body).map_err(|error| because(&error))
    }

    async fn step_headers(&self, context: &Context) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let msgpack = HeaderValue::from_static("application/msgpack");
        headers.insert(header::CONTENT_TYPE, msgpack);
        if let Ok(request) = HeaderValue::try_from(context.request.to_string()) {
            headers.insert("x-turlough-request-id", request);
        }
        let token = self.settings.token().await.ok().flatten();
        let bearer = token.map(|token| format!("Bearer {token}"));
        if let Some(Ok(bearer)) = bearer.map(HeaderValue::try_from) {
            headers.insert(header::AUTHORIZATION, bearer);
        }
        headers
    }
}

/// Puts attempts into a batch that nobody has begun meanwhile; those are sent. Others begin here: too
/// large, or of a graph that was made at run time.
async fn pack(context: &Context, offers: Vec<Offer>) -> (Option<Batch>, Vec<Offer>) {
    let mut batch = Batch::new(context).await.ok();
    let mut sent = Vec::with_capacity(offers.len());
    let mut size = batch.as_ref().map_or(0, Batch::size);
    for offer in offers {
        let step = tokio::time::timeout(READ_WITHIN, Step::of(&offer.context, &offer.run));
        let step = step.await.ok().and_then(Result::ok).flatten();
        match (&mut batch, step) {
            (Some(batch), Some(step))
                if size + step.size() <= BATCH_BYTES_MAX && offer.phase.leave() =>
            {
                size += step.size();
                batch.steps.push(step);
                sent.push(offer);
            }
            _ => offer.phase.begin_without_slot(),
        }
    }
    (batch, sent)
}
