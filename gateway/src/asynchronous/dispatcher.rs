//! The task that owns the calls: it starts each when it is its turn, and its
//! callback when the function has answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::callback::{Callback, Caller, Retry};
use super::invocation::Invoker;
use super::lanes::{LaneLimits, Lanes};
use super::queue::{Accepted, Waiting};
use crate::config::AsyncConfig;
use crate::proxy::Proxy;

/// Sixteen functions that all hang leave the rest their turn, and 2 GiB is the
/// most that their answers can hold before callbacks are waited for.
const CALLING_MAX: usize = 256;

/// Callbacks on their way, for each call that a function may work on: a receiver
/// that is down for a while does not hold up the function.
const CALLBACKS_PER_CALL: usize = 4;

/// Runs until it is told to stop.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    waiting: Waiting,
    lanes: Lanes<Accepted>,
    invoker: Arc<Invoker>,
    caller: Arc<Caller>,
    /// Each ends with the callback that is to follow, if one is.
    tasks: JoinSet<Option<Callback>>,
    open: HashMap<Id, Open>,
}

/// What a task is about.
#[derive(Debug)]
struct Open {
    function: Arc<str>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Calling,
    CallingBack { bytes: usize },
}

impl Dispatcher {
    pub(super) fn new(
        config: AsyncConfig,
        waiting: Waiting,
        proxy: Arc<Proxy>,
        upstream_timeout: Duration,
    ) -> Self {
        let per_function = config.in_flight_per_function_max.max(1);
        let limits = LaneLimits {
            calling_per_function_max: per_function,
            calling_max: CALLING_MAX,
            open_per_function_max: per_function * (1 + CALLBACKS_PER_CALL),
            callback_bytes_max: config.bytes_max.max(1),
        };
        let retry = Retry {
            attempts_max: config.callback_attempts_max,
            wait_min: config.callback_wait_min,
            timeout: config.callback_timeout,
        };
        Self {
            waiting,
            lanes: Lanes::new(limits),
            invoker: Arc::new(Invoker {
                proxy,
                answer_bytes_max: config.answer_bytes_max,
                answer_timeout: upstream_timeout,
            }),
            caller: Arc::new(Caller::new(retry)),
            tasks: JoinSet::new(),
            open: HashMap::new(),
        }
    }

    /// Makes calls until `shutdown`; then accepts no more, and gives those that it
    /// has the grace time to end. What has not ended by then is dropped.
    pub(crate) async fn run(mut self, shutdown: CancellationToken, grace: Duration) {
        tokio::select! {
            () = self.work() => {}
            () = shutdown.cancelled() => {}
        }
        self.waiting.close();
        if tokio::time::timeout(grace, self.work()).await.is_err() {
            let (waiting, in_flight) = (self.lanes.waiting(), self.open.len());
            warn!(
                dropped = waiting + in_flight,
                waiting,
                in_flight,
                ?grace,
                "dropping asynchronous calls"
            );
            self.tasks.shutdown().await;
        }
    }

    /// Returns once the queue is closed and all is done. May be dropped and
    /// called again: nothing is changed between an await and the next loop.
    async fn work(&mut self) {
        loop {
            while let Some((function, accepted)) = self.lanes.next() {
                self.call(function, accepted);
            }
            tokio::select! {
                Some(accepted) = self.waiting.next() => {
                    let lane = accepted.call.lane();
                    self.lanes.push(&lane, accepted);
                }
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                else => return,
            }
        }
    }

    fn call(&mut self, function: Arc<str>, accepted: Accepted) {
        self.waiting.began();
        let invoker = Arc::clone(&self.invoker);
        let task = self
            .tasks
            .spawn(async move { invoker.invoke(accepted).await });
        let stage = Stage::Calling;
        self.open.insert(task.id(), Open { function, stage });
    }

    fn call_back(&mut self, function: Arc<str>, callback: Callback) {
        let bytes = callback.bytes();
        let caller = Arc::clone(&self.caller);
        let task = self.tasks.spawn(async move {
            caller.deliver(callback).await;
            None
        });
        let stage = Stage::CallingBack { bytes };
        self.open.insert(task.id(), Open { function, stage });
    }

    fn ended(&mut self, ended: Result<(Id, Option<Callback>), JoinError>) {
        let (id, callback) = ended.unwrap_or_else(|error| {
            error!(%error, "asynchronous call task failed");
            (error.id(), None)
        });
        let Some(Open { function, stage }) = self.open.remove(&id) else {
            return;
        };
        match stage {
            Stage::Calling => {
                let bytes = callback.as_ref().map(Callback::bytes);
                self.lanes.answered(&function, bytes);
            }
            Stage::CallingBack { bytes } => self.lanes.called_back(&function, bytes),
        }
        if let Some(callback) = callback {
            self.call_back(function, callback);
        }
    }
}
