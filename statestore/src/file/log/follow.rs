//! Reads all logs as they grow.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Shared, followed};
use crate::append::Seq;
use crate::error::StateError;
use crate::log::{Follow, Followed};

/// Reads all logs as they grow.
#[derive(Debug)]
pub(super) struct FileFollow {
    shared: Arc<Shared>,
    tail: watch::Receiver<u64>,
    after: u64,
}

impl FileFollow {
    pub(super) const fn new(shared: Arc<Shared>, tail: watch::Receiver<u64>, after: Seq) -> Self {
        let after = after.0;
        Self {
            shared,
            tail,
            after,
        }
    }

    fn attempted(&self) -> String {
        format!("following the logs after {}", self.after)
    }
}

#[async_trait]
impl Follow for FileFollow {
    async fn next(&mut self, max: usize) -> Result<Vec<Followed>, StateError> {
        loop {
            let tail = *self.tail.borrow_and_update();
            if tail < self.after {
                return Err(StateError::Unavailable {
                    attempted: self.attempted(),
                    reason: format!("they end at {tail}: what followed it was lost"),
                });
            }
            let (found, last) = {
                let index = self.shared.index(|| self.attempted())?;
                index.after(self.after, max)
            };
            if found.is_empty() {
                self.after = last;
                self.tail
                    .changed()
                    .await
                    .map_err(|_| StateError::Unavailable {
                        attempted: self.attempted(),
                        reason: "they were closed".to_owned(),
                    })?;
                continue;
            }
            // Given up here, it reads the same again.
            let followed = followed(found).await;
            self.after = last;
            return Ok(followed);
        }
    }
}
