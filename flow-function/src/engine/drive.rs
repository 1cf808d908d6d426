//! Who drives a request, and when: at once where there is room, later where there is not, again when
//! something came up for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Notify, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, error, warn};
use turlough_sdk::{Flow, RequestId};
use turlough_statestore::{AppendId, Event, Hint, Seq, StateError, Why};

use super::FoldError;
use super::alone::TAKE_OVERS_ALONE;
use crate::desk::Woken;
use crate::driver::{Begin, BeginError, DriveError, Driver, Rest};
use crate::fault::{Fault, planted};
use crate::machine::RestoreError;
use crate::shared::{Permit, Shared};

impl Shared {
    /// Records a request, and drives it where there is room.
    pub(super) async fn begin_and_drive(
        self: Arc<Self>,
        begin: Begin,
        answer: oneshot::Sender<Result<(), BeginError>>,
        task: TaskTrackerToken,
    ) {
        let (request, flow) = (begin.request, Arc::clone(&begin.flow));
        let parent = begin.accepted.parent.clone();
        let Woken::Queued(go) = self.desk.wake(request) else {
            // It stands under its id already, and somebody drives it.
            self.leave();
            drop(answer.send(Err(BeginError::stands(request))));
            return;
        };
        let is_free = !self.hands_over(request);
        let permit = is_free.then(|| self.room.try_take(&flow)).flatten();
        let begun = Driver::begin(&self, begin, permit.is_some()).await;
        if let (Ok(_), Some(parent)) = (&begun, &parent) {
            self.cancel_unless_awaited(request, parent).await;
        }
        match begun {
            Err(error) => {
                self.leave();
                self.desk.released(request, 0);
                // Where another stands under its id, that one may have been waiting to be woken.
                self.wake(request);
                drop(answer.send(Err(error)));
            }
            Ok(Some(driver)) => {
                drop(answer.send(Ok(())));
                self.drive(driver, permit).await;
            }
            Ok(None) if self.state.is_shared => {
                drop(answer.send(Ok(())));
                self.leave();
                self.desk.released(request, 0);
                self.hint(request, Why::Accepted, None).await;
                self.watch_end(request);
            }
            Ok(None) => {
                drop(answer.send(Ok(())));
                self.queue(request, flow, (Why::Accepted, None), go).await;
            }
        }
        drop(task);
    }

    /// Drives a request until it rests or is over, and looks once more at what came meanwhile.
    async fn drive(self: &Arc<Self>, driver: Driver, permit: Option<Permit>) {
        let request = driver.request();
        let (rest, heard) = driver.run().await;
        drop(permit);
        let poked = self.desk.released(request, heard);
        if self.state.is_shared {
            self.leave();
            if rest != Rest::Over {
                self.watch_end(request);
            }
        }
        if rest == Rest::HandedOver {
            self.hint(request, Why::HandedOver, None).await;
        } else if poked && rest != Rest::Over {
            self.wake(request);
        }
    }

    /// A request that nobody drives is driven, once there is room.
    pub(crate) fn wake(self: &Arc<Self>, request: RequestId) {
        self.wake_for(request, Why::Appended, None);
    }

    /// The same, for a reason, and past a claim whose holder is dead.
    pub(crate) fn wake_for(
        self: &Arc<Self>,
        request: RequestId,
        why: Why,
        condemned: Option<AppendId>,
    ) {
        if let Woken::Queued(go) = self.desk.wake(request) {
            let shared = Arc::clone(self);
            let task = self.tasks.token();
            tokio::spawn(async move {
                match shared.flow_of(request).await {
                    Ok(flow) => shared.queue(request, flow, (why, condemned), go).await,
                    Err(error) => {
                        shared.desk.released(request, 0);
                        shared.cannot_drive(request, error, condemned).await;
                    }
                }
                drop(task);
            });
        }
    }

    async fn queue(
        self: &Arc<Self>,
        request: RequestId,
        flow: Arc<Flow>,
        (why, condemned): (Why, Option<AppendId>),
        go: Arc<Notify>,
    ) {
        let permit = tokio::select! {
            permit = self.room.take(&flow) => permit,
            () = go.notified() => None,
        };
        self.others_are_driven().await;
        let resumed = Driver::resume(self, request, (why, condemned)).await;
        if self.state.is_shared && matches!(resumed, Ok(Some(_))) {
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        let error = match resumed {
            Ok(Some(mut driver))
                if driver.take_overs() >= TAKE_OVERS_ALONE && !planted(Fault::NeverAlone) =>
            {
                let alone = self.be_alone(request, driver.take_overs()).await;
                if alone.is_none() {
                    driver.give_back();
                }
                self.drive(driver, permit).await;
                return drop(alone);
            }
            Ok(Some(driver)) => return self.drive(driver, permit).await,
            Ok(None) => None,
            Err(error) => Some(error),
        };
        self.desk.released(request, 0);
        match error {
            None => {}
            Some(DriveError::Held(holder)) => {
                debug!(%request, replica = %holder.replica, "request is driven elsewhere");
                if !planted(Fault::HeldUnpoked) {
                    self.poke_other(holder.replica, request).await;
                }
            }
            Some(error) => self.cannot_drive(request, error, condemned).await,
        }
    }

    /// Tells whoever has room that a request needs a driver. Where that is lost, the keeper tells it
    /// again.
    pub(crate) async fn hint(&self, request: RequestId, why: Why, condemned: Option<AppendId>) {
        let hint = Hint {
            request,
            why,
            condemned,
        };
        let queue = self.settings.function.as_str();
        if let Err(error) = self.state.queue.enqueue(queue, hint.encode()).await {
            warn!(%request, %error, "hint was not enqueued; the keeper sees to it");
        }
    }

    /// The version of its flow that a request began with; where the head of its log is gone, the one
    /// that its snapshot names.
    async fn flow_of(&self, request: RequestId) -> Result<Arc<Flow>, DriveError> {
        let records = self.log.read(request, Seq::START).await?;
        self.learn_versions(request, &records).await?;
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let accepted = events.find_map(|event| match event {
            Event::Accepted(accepted) => Some(accepted),
            _ => None,
        });
        let Some(accepted) = accepted else {
            let execution = self.execution(request, &records)?;
            return Ok(Arc::clone(execution.flow()));
        };
        let flow = self.registry.version(&accepted.flow, &accepted.version);
        flow.ok_or_else(|| {
            let (flow, version) = (accepted.flow.to_string(), accepted.version.clone());
            let why = RestoreError::NoVersion { flow, version };
            FoldError::Restore { request, why }.into()
        })
    }

    /// A request that this replica cannot drive: another may, or nobody.
    async fn cannot_drive(
        self: &Arc<Self>,
        request: RequestId,
        error: DriveError,
        condemned: Option<AppendId>,
    ) {
        match error {
            DriveError::Gone | DriveError::Fold(FoldError::Unknown(_)) => {
                debug!(%request, "request that is to be driven is not there");
            }
            DriveError::Fold(FoldError::Restore {
                why: RestoreError::Truncated,
                ..
            }) => {
                if let Err(error) = self.end_truncated(request, condemned).await {
                    warn!(%request, %error, "request without the head of its log was not ended yet");
                }
            }
            DriveError::Log(error @ StateError::Unreadable { .. }) => {
                error!(%request, %error, "request cannot be driven here");
            }
            error => warn!(%request, %error, "request cannot be driven here"),
        }
    }
}
