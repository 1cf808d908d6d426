//! Which of a tenant's keepers is the active one: a lease in the table of replicas.
//!
//! There is no compare-and-set: two may be active for a moment, which does no harm, since all that a
//! keeper says is a hint.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{info, warn};
use turlough_statestore::StateError;

use crate::keeper::Shared;

/// Renewals in a heartbeat's lifetime: one may be lost.
const RENEWALS: u32 = 3;
/// What is put is looked at again after this part of the lifetime: another that saw no lease either
/// has put its own by then.
const LOOK_AGAIN: u32 = 20;

/// Keeps the lease, or waits for it to lapse, until the keeper stops; then gives it back.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let heartbeat = shared.options.heartbeat;
    loop {
        let is_active = match take(&shared, heartbeat / LOOK_AGAIN).await {
            Ok(is_active) => {
                Shared::note(&shared.not_leased, None);
                is_active
            }
            Err(error) => {
                Shared::note(&shared.not_leased, Some(&error));
                warn!(%error, "lease cannot be looked at; another keeper may take over");
                false
            }
        };
        let was_active = shared.is_active.send_replace(is_active);
        if was_active != is_active {
            info!(tenant = %shared.options.tenant, active = is_active, "keeper");
        }
        tokio::select! {
            () = tokio::time::sleep(heartbeat / RENEWALS) => {}
            () = shared.stop.cancelled() => break,
        }
    }
    if shared.is_active.send_replace(false) && shared.state.is_shared {
        let gone = shared.state.replicas.remove(&key(&shared)).await;
        if let Err(error) = gone {
            warn!(%error, "lease was not given back, and lapses");
        }
    }
}

async fn take(shared: &Shared, look_again: Duration) -> Result<bool, StateError> {
    if !shared.state.is_shared {
        return Ok(true);
    }
    let (table, key) = (&shared.state.replicas, key(shared));
    let own = Bytes::from(shared.options.replica.to_string());
    match table.get(&key).await? {
        Some(holder) if holder != own => return Ok(false),
        held => {
            let was_own = held.is_some();
            table.put(&key, own.clone()).await?;
            if !was_own {
                tokio::time::sleep(look_again).await;
            }
        }
    }
    Ok(table.get(&key).await?.is_some_and(|holder| holder == own))
}

fn key(shared: &Shared) -> String {
    format!("keeper.{}", shared.options.tenant)
}
