//! Handing a request over: to whoever has room, since this replica ends or has to be alone with another
//! request.
//!
//! Invariant: nothing new is started; calls that must not be repeated are awaited, for as long as the
//! replica has; everything else is stopped, and done again by the next driver.

use turlough_statestore::Event;

use super::{DriveError, Driver, Rest};
use crate::clock::now_us;

impl Driver {
    /// Lets go of the request so that another may drive it at once.
    async fn hand_over(&mut self) -> Result<Rest, DriveError> {
        self.stop_repeatable();
        let closing = self.shared.closing.clone();
        while self.running.has_once() {
            tokio::select! {
                Some(ended) = self.running.next() => {
                    let attempted: Vec<_> = self.ended(ended).into_iter().collect();
                    self.commit_ends(&attempted).await?;
                }
                () = closing.cancelled() => break,
            }
        }
        self.outlive();
        loop {
            let now_us = now_us();
            let released = vec![Event::Released { at_us: now_us }];
            if self.commit(released, Some(now_us)).await? {
                return Ok(Rest::HandedOver);
            }
            self.refold().await?;
            if self.execution.is_settled() {
                return Ok(Rest::Over);
            }
        }
    }

    /// The same, after what has happened already.
    pub(super) async fn hand_over_after(
        &mut self,
        attempted: &[super::Attempted],
    ) -> Result<Rest, DriveError> {
        self.commit_ends(attempted).await?;
        self.hand_over().await
    }

    /// Stores the ends of attempts, and asks for nothing new.
    async fn commit_ends(&mut self, attempted: &[super::Attempted]) -> Result<(), DriveError> {
        loop {
            if self.commit_parts(attempted).await? {
                let events = self.happened(attempted);
                events.iter().for_each(|event| self.execution.apply(event));
                if events.is_empty() || self.commit(events, None).await? {
                    return Ok(());
                }
            }
            self.refold().await?;
        }
    }
}
