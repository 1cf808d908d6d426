//! A task that looks for what is due, for as long as a store is held.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Looks are as often as an eighth of a lease, between these: what lapsed is not held for much longer,
/// and nobody looks all the time.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// What is swept.
#[async_trait]
pub(super) trait Sweep: Send + Sync + 'static {
    /// Takes away what is due.
    async fn sweep(&self);
}

/// Sweeps until the guard is dropped.
pub(super) fn every_part_of(lease: Duration, swept: Arc<impl Sweep>) -> DropGuard {
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let look = (lease / 8).clamp(LOOKS.0, LOOKS.1);
    tokio::spawn(ended.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(look).await;
            swept.sweep().await;
        }
    }));
    guard
}
