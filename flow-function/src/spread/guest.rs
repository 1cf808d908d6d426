//! Steps that another replica asked for.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use turlough_statestore::event::StepEnded;

use super::batch::Batch;
use crate::data::RequestData;
use crate::runner::{self, Attempted, Context};
use crate::shared::Shared;

/// Batches that run here at once, by processor.
const PER_PROCESSOR: usize = 2;

/// Room for what others ask for.
#[derive(Debug)]
pub(crate) struct Guests(Arc<Semaphore>);

impl Guests {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(processors * PER_PROCESSOR)))
    }
}

/// Why steps are not run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this replica asked for them itself; ask again")]
    Own,
    #[error("this replica has enough to do; ask another")]
    Full,
    #[error("flow {flow} in version {version} is not here; run the steps where it is")]
    NoVersion { flow: String, version: String },
    #[error("flow {flow} has no step {step} here; run it where it is")]
    NoStep { flow: String, step: String },
}

impl Shared {
    /// Runs steps for another replica, and gives what they came to. Who does not wait any more stops
    /// them.
    pub(crate) async fn run_for_another(
        self: &Arc<Self>,
        batch: Batch,
    ) -> Result<Vec<StepEnded>, Refusal> {
        if batch.replica == self.replica {
            return Err(Refusal::Own);
        }
        let Ok(_room) = self.guests.0.try_acquire() else {
            return Err(Refusal::Full);
        };
        if self.spread.is_behind() {
            return Err(Refusal::Full);
        }
        let accepted = Arc::new(batch.accepted);
        let (name, version) = (&accepted.flow, &accepted.version);
        let flow = self.registry.version(name, version);
        let flow = flow.ok_or_else(|| Refusal::NoVersion {
            flow: name.to_string(),
            version: version.clone(),
        })?;
        // Nothing of the request stays here: all values stand in what is sent.
        let (request, generation, epoch) = (batch.request, batch.generation, batch.epoch);
        let none = HashMap::new();
        let context = Arc::new(Context {
            data: RequestData::new(request, (generation, epoch), &self.stores, usize::MAX, none),
            request,
            generation,
            epoch,
            shared: Arc::clone(self),
            flow: Arc::clone(&flow),
            accepted: Arc::clone(&accepted),
            // Whoever asked tells what came of it.
            trace: None,
        });
        let mut runs = Vec::with_capacity(batch.steps.len());
        for step in batch.steps {
            let path = step.step.clone();
            let run = step.run(&flow).ok_or_else(|| Refusal::NoStep {
                flow: accepted.flow.to_string(),
                step: path.to_string(),
            })?;
            runs.push(run);
        }
        let mut running = JoinSet::new();
        for run in runs {
            running.spawn(runner::run(Arc::clone(&context), Arc::new(run), None, None));
        }
        let mut ends = Vec::with_capacity(running.len());
        while let Some(attempted) = running.join_next().await {
            // What else it may come to is no end: then it runs where it is driven.
            if let Ok(Attempted::Ended { ended, .. }) = attempted {
                ends.push(ended);
            }
        }
        Ok(ends)
    }
}
