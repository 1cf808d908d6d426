//! Who gives wrong passwords waits longer and longer for the answer, over all its connections; and while
//! some answers wait, no more are looked at, so that nothing is won by not waiting.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the first wrong one costs; each further one twice as much.
const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(5);
/// Answers to wrong ones that may wait at once; no other is looked at meanwhile.
const WAITING_MAX: usize = 16;
/// Guesses are forgotten after this, in ms.
const MEMORY_MS: u64 = 60_000;
/// Where guesses came from is remembered of so many; others count together.
const ORIGINS_MAX: usize = 10_000;

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Host(IpAddr),
    /// This host, as a user, where the kernel says which.
    User(Option<u32>),
}

impl Origin {
    /// Whether it is on this host.
    pub(crate) fn is_near(self) -> bool {
        match self {
            Self::Host(address) => address.to_canonical().is_loopback(),
            Self::User(_) => true,
        }
    }

    /// Those of one network of version 6 are one: a host has as many addresses there as it likes.
    fn as_one(self) -> Self {
        let Self::Host(address) = self else {
            return self;
        };
        Self::Host(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Wrong passwords, by where they came from.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<HashMap<Option<Origin>, Wrong>>);

#[derive(Debug, Default)]
struct Wrong {
    count: u32,
    at_ms: u64,
    /// When the answers are given that wait.
    waiting: Vec<u64>,
}

impl Guesses {
    /// How long it takes until a password from there is looked at, in ms; none where it may be now.
    pub(crate) fn wait_ms(&self, origin: Origin, now_ms: u64) -> Option<u64> {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&origins, origin);
        let wrong = origins.get_mut(&key)?;
        wrong.waiting.retain(|until_ms| *until_ms > now_ms);
        if wrong.waiting.len() < WAITING_MAX {
            return None;
        }
        wrong.waiting.iter().min().map(|until_ms| until_ms - now_ms)
    }

    /// A wrong one: how long its answer is to wait.
    pub(crate) fn wrong(&self, origin: Origin, now_ms: u64) -> Duration {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.len() >= ORIGINS_MAX {
            origins.retain(|_, wrong| now_ms.saturating_sub(wrong.at_ms) < MEMORY_MS);
        }
        let key = key(&origins, origin);
        let wrong = origins.entry(key).or_default();
        if now_ms.saturating_sub(wrong.at_ms) >= MEMORY_MS {
            wrong.count = 0;
        }
        wrong.at_ms = now_ms;
        let pause = FIRST.saturating_mul(1 << wrong.count.min(20)).min(MOST);
        wrong.count += 1;
        wrong.waiting.retain(|until_ms| *until_ms > now_ms);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        wrong.waiting.push(now_ms + pause_ms);
        pause
    }
}

/// What stands for an origin.
fn key(origins: &HashMap<Option<Origin>, Wrong>, origin: Origin) -> Option<Origin> {
    let origin = Some(origin.as_one());
    let is_known = origins.len() < ORIGINS_MAX || origins.contains_key(&origin);
    origin.filter(|_| is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address: &str) -> Origin {
        Origin::Host(address.parse().unwrap())
    }

    #[test]
    fn each_guess_waits_longer_until_none_came_for_a_minute() {
        let guesses = Guesses::default();
        let peer = host("10.0.0.1");
        let pauses: Vec<_> = (0..9)
            .map(|_| guesses.wrong(peer, 100_000).as_millis())
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(guesses.wrong(Origin::User(None), 100_000), FIRST);
        assert_eq!(guesses.wrong(peer, 160_000), FIRST);
    }

    #[test]
    fn while_many_answers_wait_no_other_password_is_looked_at() {
        let guesses = Guesses::default();
        let (peer, same) = (host("2001:db8::1"), host("2001:db8::2"));
        for n in 0..WAITING_MAX {
            assert_eq!(guesses.wait_ms(same, 100_000), None, "{n}");
            guesses.wrong(peer, 100_000);
        }
        assert_eq!(guesses.wait_ms(same, 100_000), Some(50));
        assert_eq!(guesses.wait_ms(host("2001:db9::1"), 100_000), None);
        assert_eq!(guesses.wait_ms(same, 100_050), None);
        guesses.wrong(same, 100_050);
        assert_eq!(guesses.wait_ms(peer, 100_050), Some(50));
        assert_eq!(guesses.wait_ms(peer, 105_050), None);
    }

    #[test]
    fn from_more_places_than_are_remembered_guesses_count_together() {
        let guesses = Guesses::default();
        for n in 0..ORIGINS_MAX {
            let address = Ipv6Addr::from((n as u128) << 64);
            guesses.wrong(Origin::Host(address.into()), 100_000);
        }
        assert_eq!(guesses.wrong(host("10.0.0.1"), 100_000), FIRST);
        assert_eq!(guesses.wrong(host("10.0.0.2"), 100_000), 2 * FIRST);
        assert_eq!(guesses.0.lock().unwrap().len(), ORIGINS_MAX + 1);
    }
}
