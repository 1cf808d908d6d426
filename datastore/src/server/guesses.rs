//! Who gives wrong passwords waits longer and longer for the answer, over all its connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the first wrong one costs; each further one twice as much.
const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(5);
/// Guesses are forgotten after this, in ms.
const MEMORY_MS: u64 = 60_000;
/// Peers that are remembered.
const PEERS_MAX: usize = 10_000;

/// Wrong passwords, by the address that they came from.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<HashMap<Option<IpAddr>, (u32, u64)>>);

impl Guesses {
    /// A wrong one: how long its answer is to wait.
    pub(crate) fn wrong(&self, peer: Option<IpAddr>, now_ms: u64) -> Duration {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, (_, at_ms)| now_ms.saturating_sub(*at_ms) < MEMORY_MS);
        }
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            return MOST;
        }
        let (count, at_ms) = peers.entry(peer).or_default();
        if now_ms.saturating_sub(*at_ms) >= MEMORY_MS {
            *count = 0;
        }
        *at_ms = now_ms;
        let pause = FIRST.saturating_mul(1 << (*count).min(20));
        *count += 1;
        pause.min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guess_waits_longer_until_none_came_for_a_minute() {
        let guesses = Guesses::default();
        let peer = Some("10.0.0.1".parse().unwrap());
        let pauses: Vec<_> = (0..9)
            .map(|_| guesses.wrong(peer, 100_000).as_millis())
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(guesses.wrong(None, 100_000), FIRST);
        assert_eq!(guesses.wrong(peer, 160_000), FIRST);
    }
}
