//! Who drives a request, and when: at once where there is room, later where there is not, again when
//! something came up for it.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::warn;
use turlough_sdk::{Flow, RequestId};
use turlough_statestore::{Event, Seq};

use crate::clock::{now_us, until};
use crate::driver::{Begin, BeginError, Driver, Rest};
use crate::keeper::Woken;
use crate::shared::{Permit, Shared};

impl Shared {
    /// Records a request, and drives it where there is room.
    pub(super) async fn begin_and_drive(
        self: Arc<Self>,
        begin: Begin,
        answer: oneshot::Sender<Result<(), BeginError>>,
        task: TaskTrackerToken,
    ) {
        self.keep();
        let (request, flow) = (begin.request, Arc::clone(&begin.flow));
        let deadline_us = begin.accepted.deadline_us;
        let parent = begin.accepted.parent.clone();
        let Woken::Queued(go) = self.keeper.wake(request) else {
            // It stands under its id already, and somebody drives it.
            self.leave();
            drop(answer.send(Err(BeginError::stands(request))));
            return;
        };
        let permit = self.room.try_take(&flow);
        if permit.is_some() {
            self.keeper.driven(request);
        }
        let begun = Driver::begin(&self, begin, permit.is_some()).await;
        if let (Ok(_), Some(parent)) = (&begun, &parent) {
            self.cancel_unless_awaited(request, parent).await;
        }
        match begun {
            Err(error) => {
                self.leave();
                self.keeper.released(request, None);
                // Where another stands under its id, that one may have been waiting to be woken.
                self.wake(request);
                drop(answer.send(Err(error)));
            }
            Ok(Some(driver)) => {
                drop(answer.send(Ok(())));
                self.drive(driver, permit).await;
            }
            Ok(None) => {
                drop(answer.send(Ok(())));
                self.keeper.queued_until(request, deadline_us);
                self.queue(request, flow, go).await;
            }
        }
        drop(task);
    }

    /// Drives a request until it rests or is over, and looks once more at what came meanwhile.
    async fn drive(self: &Arc<Self>, driver: Driver, permit: Option<Permit>) {
        let request = driver.request();
        let rest = driver.run().await;
        drop(permit);
        let due_us = match &rest {
            Rest::Until { due_us, .. } => Some(*due_us),
            Rest::Over => None,
        };
        self.keeper.released(request, due_us);
        if let Rest::Until { seq, .. } = rest {
            let last = self.log.tail(request).map(|tail| *tail.borrow());
            if last.is_some_and(|last| last > seq) {
                self.wake(request);
            }
        }
    }

    /// A request that nobody drives is driven, once there is room.
    pub(crate) fn wake(self: &Arc<Self>, request: RequestId) {
        if let Woken::Queued(go) = self.keeper.wake(request) {
            let shared = Arc::clone(self);
            let task = self.tasks.token();
            tokio::spawn(async move {
                if let Some(flow) = shared.flow_of(request).await {
                    shared.queue(request, flow, go).await;
                } else {
                    shared.keeper.released(request, None);
                }
                drop(task);
            });
        }
    }

    async fn queue(self: &Arc<Self>, request: RequestId, flow: Arc<Flow>, go: Arc<Notify>) {
        let permit = tokio::select! {
            permit = self.room.take(&flow) => permit,
            () = go.notified() => None,
        };
        self.keeper.driven(request);
        match Driver::resume(self, request, flow).await {
            Ok(driver) => self.drive(driver, permit).await,
            Err(error) => {
                warn!(%request, %error, "request cannot be driven");
                self.keeper.released(request, None);
            }
        }
    }

    /// The version of its flow that a request began with.
    pub(crate) async fn flow_of(&self, request: RequestId) -> Option<Arc<Flow>> {
        let records = self.log.read(request, Seq::START).await.ok()?;
        let mut events = records.iter().flat_map(|record| &record.append.events);
        events.find_map(|event| match event {
            Event::Accepted(accepted) => self.registry.version(&accepted.flow, &accepted.version),
            _ => None,
        })
    }

    /// Starts what wakes requests when their time comes, once in a process.
    fn keep(self: &Arc<Self>) {
        self.keeping.call_once(|| {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let closing = shared.closing.clone();
                tokio::select! {
                    () = shared.keep_time() => {}
                    () = closing.cancelled() => {}
                }
            });
        });
    }

    async fn keep_time(self: &Arc<Self>) {
        loop {
            let (due, next_us) = self.keeper.take_due(now_us());
            for request in due {
                self.keeper.urge(request);
                self.wake(request);
            }
            match next_us {
                Some(next_us) => tokio::select! {
                    () = tokio::time::sleep(until(next_us)) => {}
                    () = self.keeper.earlier() => {}
                },
                None => self.keeper.earlier().await,
            }
        }
    }
}
