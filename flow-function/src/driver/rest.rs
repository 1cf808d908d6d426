//! When a driver waits, and when it lets go: what it waits for may take long, and then somebody else
//! sees to it.

use std::time::Duration;

use super::{DriveError, Driver};
use crate::clock::{boot, now_us, until};
use crate::fault::{Fault, planted};
use crate::machine::Action;
use crate::runner::Attempted;

/// A driver that has nothing to do stays for as long as it takes to read its log again, about: who
/// is woken a thousand times, by callbacks say, does not read it a thousand times. Logs of fewer
/// appends are read at once.
const LINGER_APPENDS_MIN: usize = 64;
const LINGER_US_PER_APPEND: u64 = 20;
const LINGER_US_MAX: u64 = 1_000_000;
/// How often a driver looks whether its time has come that the wall's clock is ahead of.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A wait shorter than this is waited for in memory.
const SHORT_WAIT_US: u64 = 2_000_000;

impl Driver {
    /// Whether nothing is left to do before a time that is some way off, or before somebody appends.
    pub(super) fn rests(&self, actions: &[Action]) -> bool {
        let runs = actions
            .iter()
            .any(|action| matches!(action, Action::Run(_)));
        let waits = runs || !self.running.is_empty() || self.output.is_awaited();
        !waits && self.due_us() > now_us().saturating_add(SHORT_WAIT_US)
    }

    /// Whether it stayed for long enough with nothing to do.
    pub(super) fn has_lingered(&mut self) -> bool {
        if self.appends < LINGER_APPENDS_MIN {
            return true;
        }
        let now = now_us();
        if self.lingers_until_us == 0 {
            let linger_us = (self.appends as u64).saturating_mul(LINGER_US_PER_APPEND);
            self.lingers_until_us = now + linger_us.min(LINGER_US_MAX);
        }
        self.lingers_until_us <= now
    }

    /// When something is to be done next.
    pub(super) fn due_us(&self) -> u64 {
        let delayed = self
            .delayed
            .first_key_value()
            .map(|((due_us, _), _)| *due_us);
        let due_us = self.execution.wake_at_us().unwrap_or(u64::MAX);
        delayed.map_or(due_us, |delayed| delayed.min(due_us))
    }

    /// The time by which it goes: the wall's, which may jump. No outcome becomes unknown by a jump, since
    /// whoever may still call goes by another clock.
    pub(super) fn time_us(&self) -> u64 {
        let now = now_us();
        let (claimed_us, claimed) = self.claimed;
        let gone = u64::try_from(boot().saturating_sub(claimed).as_micros()).unwrap_or(u64::MAX);
        match self.execution.unknown_by(now) {
            Some(due_us)
                if due_us > claimed_us.saturating_add(gone) && !planted(Fault::WallTrusted) =>
            {
                due_us - 1
            }
            _ => now,
        }
    }

    /// Until something is due.
    fn pause(&self, due_us: u64) -> Duration {
        let pause = until(due_us);
        if pause.is_zero() && self.time_us() < due_us {
            return LOOK_AGAIN;
        }
        pause
    }

    /// Has the request's data last for as long as it may rest: until somebody wakes it, at the latest when
    /// it is due, or its time is over. The stores have heard of it before the log has.
    pub(super) async fn keep_data(&self, due_us: u64) {
        let due = match due_us {
            u64::MAX => Duration::ZERO,
            due_us => until(due_us),
        };
        let stores = &self.shared.stores;
        let lease = due.max(until(self.execution.deadline_us())) + stores.lease();
        stores.keep(self.request, lease).await;
    }

    /// A claim that a store has heard of, and the log has not, or which was dropped: this driver's does not
    /// count there.
    pub(super) fn newer_in_stores(&self) -> Option<u64> {
        let newer = self.shared.stores.newer(self.request);
        newer.filter(|newer| *newer >= self.execution.epoch())
    }

    /// Waits until something happened; what else is there by then comes along.
    pub(super) async fn wait(&mut self) -> Result<Vec<Attempted>, DriveError> {
        let mut attempted = Vec::new();
        loop {
            let mut due_us = self.due_us().min(self.snapshot_due_us());
            if self.lingers_until_us > 0 {
                due_us = due_us.min(self.lingers_until_us);
            }
            let pause = self.pause(due_us);
            tokio::select! {
                Some(ended) = self.running.next() => {
                    self.lingers_until_us = 0;
                    attempted.extend(self.ended(ended));
                    break;
                }
                () = tokio::time::sleep(pause) => {
                    self.start_delayed();
                    if self.lingers_until_us > 0 && self.lingers_until_us <= now_us() {
                        break;
                    }
                    let wake_us = self.execution.wake_at_us().unwrap_or(u64::MAX);
                    let due_us = wake_us.min(self.snapshot_due_us());
                    if due_us <= self.time_us() {
                        break;
                    }
                }
                () = self.output.arrives() => break,
                () = self.shared.must_hand_over(self.request) => break,
                Ok(()) = self.pokes.changed() => {
                    // Reading marks the place up to which others were heard.
                    if self.read_external().await? || self.newer_in_stores().is_some() {
                        self.lingers_until_us = 0;
                        break;
                    }
                }
            }
        }
        while let Some(ended) = self.running.try_next() {
            attempted.extend(self.ended(ended));
        }
        Ok(attempted)
    }
}
