//! Claimants whose heartbeat is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};
use turlough_sdk::ReplicaId;

use super::condemn;
use crate::follower::{FollowError, chain};
use crate::keeper::Shared;

/// Looks in a heartbeat's lifetime.
const LOOKS: u32 = 4;
/// Claims that are condemned at once, and the pause before the next: 10,000 a second.
const ROUND_MAX: usize = 500;
const PAUSE: Duration = Duration::from_millis(50);

/// Looks who is alive, and hints at what the dead hold, until the keeper stops.
pub(crate) async fn judge(shared: Arc<Shared>) {
    loop {
        if let Err(error) = look(&shared).await {
            warn!(error = %chain(&error), "heartbeats cannot be read");
        }
        tokio::select! {
            () = sleep(shared.options.heartbeat / LOOKS) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

async fn look(shared: &Arc<Shared>) -> Result<(), FollowError> {
    // The holders first: whoever claims after this has its heartbeat by then.
    let holders = shared.index.call(crate::index::Index::holders).await?;
    shared.replicas.look(&shared.state).await?;
    shared.steady.answered();
    let works = *shared.is_active.borrow() && *shared.is_caught_up.borrow();
    if !works || !shared.may_judge() {
        return Ok(());
    }
    let own = (!shared.state.is_shared).then_some(shared.options.replica);
    let is_dead = |holder: &ReplicaId| !shared.replicas.is_alive(*holder) && own != Some(*holder);
    for holder in holders.into_iter().filter(is_dead) {
        let mut found = 0;
        loop {
            let job =
                move |index: &mut crate::index::Index| index.condemn_held_by(holder, ROUND_MAX);
            let condemned = shared.index.call(job).await?;
            found += condemned.len();
            let is_all = condemned.len() < ROUND_MAX;
            condemn(shared, condemned).await;
            if is_all || shared.stop.is_cancelled() {
                break;
            }
            sleep(PAUSE).await;
        }
        if found > 0 {
            info!(replica = %holder, requests = found, "replica is gone, and its requests are handed on");
        }
    }
    Ok(())
}
