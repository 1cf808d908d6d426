//! A request that has begun.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use turlough_sdk::{ContentType, Producer, RequestId, Value};

use super::outcome::Seen;
use super::{Outcome, TestKit};
use crate::engine::{Control, Started};
use crate::shared::Finished;

/// How often a request is looked at that a test waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A request that has begun. Dropping it leaves it alone.
pub struct Running<'a> {
    kit: &'a TestKit,
    flow: String,
    request: RequestId,
    finished: oneshot::Receiver<Finished>,
}

impl<'a> Running<'a> {
    pub(super) fn new(kit: &'a TestKit, flow: &str, started: Started) -> Self {
        Self {
            kit,
            flow: flow.to_owned(),
            request: started.request,
            finished: started.finished,
        }
    }

    /// The request's id.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.request
    }

    /// Sends a signal, with data as JSON.
    ///
    /// # Panics
    /// A request that takes it no more; data that cannot be written as JSON.
    pub async fn signal<T: Serialize + ?Sized>(&self, name: &str, data: &T) {
        let value = match serde_json::to_vec(data) {
            Ok(bytes) => Value::new(ContentType::JSON, Producer::Caller, &bytes),
            Err(error) => panic!("test kit: the data of signal {name} is no JSON: {error}"),
        };
        let name = name.to_owned();
        self.ask("signal", Control::Signal { name, value }).await;
    }

    /// Cancels it.
    ///
    /// # Panics
    /// A request that has ended.
    pub async fn cancel(&self) {
        self.ask("cancel", Control::Cancel).await;
    }

    async fn ask(&self, what: &str, control: Control) {
        let asked = self.kit.engine.control(self.request, control, None);
        if let Err(error) = Box::pin(asked).await {
            let text = crate::outside::with_sources(error.to_string(), &error);
            panic!("test kit: cannot {what} {self}: {text}");
        }
    }

    /// Waits until a step stands so, such as `sleeping` or `retrying`.
    ///
    /// # Panics
    /// A step that does not come to it within the kit's limit.
    pub async fn until_step(&self, path: &str, status: &str) {
        let stands = async {
            loop {
                let seen = Seen::now(&self.kit.engine, self.request).await;
                let stands = |seen: &Seen| seen.find(path).is_some_and(|s| s.status == status);
                if seen.as_ref().is_ok_and(stands) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(self.kit.limit, stands).await.is_err() {
            let what = format!("step {path} is not {status}");
            self.too_long(&what).await;
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// A request that has not ended within the kit's limit; a stub that panicked.
    pub async fn outcome(mut self) -> Outcome {
        let ended = tokio::time::timeout(self.kit.limit, &mut self.finished).await;
        let panics = self.kit.stubs.take_panics();
        assert!(panics.is_empty(), "{self}: {}", panics.join("\n"));
        let finished = match ended {
            Ok(Ok(finished)) => finished,
            Ok(Err(_)) => panic!("test kit: {self} was left by its driver; see the log"),
            Err(_) => self.too_long("it has not ended").await,
        };
        match Seen::now(&self.kit.engine, self.request).await {
            Ok(seen) => Outcome::new((self.flow, self.request), finished, seen),
            Err(error) => panic!("test kit: {self} has ended, and cannot be read: {error}"),
        }
    }

    async fn too_long(&self, what: &str) -> ! {
        let limit = self.kit.limit;
        let seen = Seen::now(&self.kit.engine, self.request).await;
        let steps = seen.map_or_else(|error| format!(": {error}"), |seen| seen.to_string());
        panic!(
            "{self}: {what} within {limit:?}; see what it waits for, or give the kit another limit{steps}"
        )
    }
}

impl fmt::Display for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow {}, request {}", self.flow, self.request)
    }
}

impl fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("flow", &self.flow)
            .field("request", &self.request)
            .finish()
    }
}
