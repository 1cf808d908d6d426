//! Snapshots: of a request that outlives half the age at which logs expire, its state is written down,
//! so that it goes on when the head of its log is gone.
//!
//! Invariants: a snapshot is of what is stored, and nothing else; values in parts that are needed still
//! are written again before it.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, warn};
use turlough_sdk::ValueRef;
use turlough_statestore::event::{Moved, Snapshot};
use turlough_statestore::{Event, Record, Seq, Why};

use super::pieces::{parts_of, parts_of_bytes};
use super::{DriveError, Driver};
use crate::clock::now_us;
use crate::data::touched;
use crate::fault::{Fault, planted};

/// A state up to this size stands in its event; a larger one in parts before it.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// When the newest snapshot of a log was written; where there is none, its first event.
pub(super) fn newest_us(records: &[Record]) -> u64 {
    let events = records
        .iter()
        .rev()
        .flat_map(|record| &record.append.events);
    let snapshot = events.clone().find_map(|event| match event {
        Event::Snapshot(snapshot) => Some(snapshot.at_us),
        _ => None,
    });
    let accepted = || {
        let mut events = records.iter().flat_map(|record| &record.append.events);
        events.find_map(|event| match event {
            Event::Accepted(accepted) => Some(accepted.at_us),
            _ => None,
        })
    };
    snapshot.or_else(accepted).unwrap_or_else(now_us)
}

impl Driver {
    /// Writes a snapshot where one is due. Where somebody else appends meanwhile, it stays due.
    pub(super) async fn keep_head(&mut self) -> Result<(), DriveError> {
        let asked = self.asked == Some(Why::Snapshot);
        let is_due = asked || now_us() >= self.snapshot_due_us();
        if !is_due || self.execution.is_ended() || planted(Fault::NoSnapshot) {
            return Ok(());
        }
        self.asked = None;
        if !self.write_snapshot().await? {
            debug!(request = %self.request, "somebody appended beside a snapshot; it is written again");
            self.refold().await?;
        }
        Ok(())
    }

    /// When the next one is due, Unix time in µs.
    pub(super) fn snapshot_due_us(&self) -> u64 {
        if planted(Fault::NoSnapshot) {
            return u64::MAX;
        }
        let age_us = u64::try_from(self.shared.settings.state.max_age.as_micros() / 2);
        self.snapshot_us.saturating_add(age_us.unwrap_or(u64::MAX))
    }

    async fn write_snapshot(&mut self) -> Result<bool, DriveError> {
        let mut moved = Vec::new();
        for at in self.execution.parts() {
            let ValueRef::Parts { upload, .. } = &at else {
                continue;
            };
            if planted(Fault::PartsLeft) {
                continue;
            }
            let value = match self.context.data.load(&at).await {
                Ok(value) => value,
                Err(error) => {
                    warn!(request = %self.request, %error, "value in a log's head is lost with it");
                    continue;
                }
            };
            let (to, parts) = parts_of(&value);
            for part in parts {
                if !self.commit(vec![part], None).await? {
                    return Ok(false);
                }
            }
            if let ValueRef::Parts { upload: to, .. } = to {
                self.context.data.learn(to, value.envelope().clone());
                let from = *upload;
                moved.push(Moved { from, to });
            }
        }
        // What lies beside the log is to outlive its head as well; there is as much time again for that.
        let (stores, held) = (Arc::clone(&self.shared.stores), self.execution.held());
        let owners = stores.owners_of_durable(self.request, &held);
        tokio::spawn(async move {
            for owner in owners {
                stores.lease_durable(owner).await;
            }
        });
        self.touched = touched(&self.read_log(Seq::START).await?);
        let (of, last) = (self.seq, self.execution.last());
        let (Some(last), Ok(state)) = (last, self.execution.snapshot(of)) else {
            warn!(request = %self.request, "state cannot be written down");
            self.snapshot_us = now_us();
            return Ok(true);
        };
        let state = Bytes::from(state);
        let state = if state.len() <= INLINE_BYTES_MAX {
            ValueRef::Inline(state)
        } else {
            let (at, parts) = parts_of_bytes(&state);
            for part in parts {
                if !self.commit(vec![part], None).await? {
                    return Ok(false);
                }
            }
            at
        };
        let at_us = now_us();
        let snapshot = Event::Snapshot(Snapshot {
            state,
            of,
            last,
            moved,
            stores: self.touched.iter().map(ToString::to_string).collect(),
            at_us,
        });
        if !self.commit(vec![snapshot.clone()], None).await? {
            return Ok(false);
        }
        self.execution.apply(&snapshot);
        self.snapshot_us = at_us;
        Ok(true)
    }
}
