//! Requests whose log has lost its head and holds no snapshot: nobody can go on with them, and they end
//! as dead.
//!
//! Invariant: one that somebody drives is left to its driver, which knows what the log does not.

use std::sync::Arc;

use tracing::{debug, error};
use turlough_sdk::RequestId;
use turlough_statestore::event::Outcome;
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Record, Seq, Standing, StateError,
};
use uuid::Uuid;

use crate::clock::now_us;
use crate::machine::Holder;
use crate::shared::{Finished, Shared};

/// What is said of such a request.
pub(crate) const TRUNCATED: &str = "the head of its log is gone, and no snapshot in it can be read: nobody can go on with it; begin it anew, and see what deletes from the log";

impl Shared {
    /// Ends such a request, unless somebody drives it.
    pub(super) async fn end_truncated(
        self: &Arc<Self>,
        request: RequestId,
        condemned: Option<AppendId>,
    ) -> Result<(), StateError> {
        let records = self.log.read(request, Seq::START).await?;
        let (Some(last), Some(ours)) = (records.last(), newest(&records, |_| true)) else {
            return Ok(());
        };
        let is_there = |is: fn(&Event) -> bool| {
            let mut events = records.iter().flat_map(|record| &record.append.events);
            events.any(is)
        };
        if is_there(|event| matches!(event, Event::Settled { .. })) {
            return Ok(());
        }
        if let Some(holder) = holder(&records)
            && !self.is_dead(holder, condemned).await?
        {
            debug!(%request, replica = %holder.replica, "request without the head of its log is driven");
            self.poke_other(holder.replica, request).await;
            return Ok(());
        }
        let (at_us, message) = (now_us(), TRUNCATED.to_owned());
        let outcome = Outcome::Dead { message };
        let ended = Event::Ended {
            outcome: outcome.clone(),
            trouble: Vec::new(),
            owed: Vec::new(),
            at_us,
        };
        let mut events = vec![Event::Closing { at_us }, Event::Settled { at_us }];
        if !is_there(|event| matches!(event, Event::Ended { .. })) {
            events.insert(0, ended);
        }
        let envelope = Envelope {
            id: AppendId(Uuid::new_v4().as_u128()),
            after: Some(ours.id),
            kind: Kind::Driver,
            replica: self.replica,
            wake_at_us: None,
            standing: Standing::Running,
            ..ours.clone()
        };
        let append = Append::new(envelope, events);
        self.log.append(request, last.seq, &append).await?;
        error!(%request, "request is dead: {TRUNCATED}");
        let finished = Finished {
            outcome,
            output: None,
        };
        self.waiting.tell(request, &finished);
        self.tell_others(request);
        Ok(())
    }
}

/// The newest append of ours that is so.
fn newest(records: &[Record], is_so: impl Fn(&Append) -> bool) -> Option<&Envelope> {
    let mut appends = records.iter().rev().map(|record| &record.append);
    let found = appends.find(|append| !append.is_blank() && is_so(append));
    found.map(|append| &append.envelope)
}

/// Who held it last, as far as what is left of its log tells; none where it was let go.
fn holder(records: &[Record]) -> Option<Holder> {
    let is_driver = |append: &Append| append.envelope.kind == Kind::Driver;
    let last = newest(records, is_driver)?;
    let record = records.iter().find(|it| it.append.envelope.id == last.id)?;
    if matches!(record.append.events.last(), Some(Event::Released { .. })) {
        return None;
    }
    let claims = |event: &Event| matches!(event, Event::Claimed { .. });
    let claim = newest(records, |append| append.events.iter().any(claims)).unwrap_or(last);
    Some(Holder {
        replica: last.replica,
        claim: claim.id,
    })
}
