//! What of a call says whether one that comes later is the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use turlough_sdk::RequestId;

use super::{Call, CallKey};
use crate::clock::now_us;

/// By what a call is told from one that comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    pub(super) delivery: Option<u128>,
    /// Until when its signature would hold, Unix time in seconds, where it has one.
    until_s: Option<u64>,
}

/// Signatures that began a request here and would still hold. The logs know them too, but where nobody
/// shares them they are forgotten by their number, and not by time.
#[derive(Debug, Default)]
pub(crate) struct Signatures(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    until_s: HashMap<RequestId, u64>,
    /// How many there may be before those that ended are taken out.
    many: usize,
}

impl Again {
    pub(super) fn of(call: &Call) -> Self {
        let until_s = match &call.key {
            Some(CallKey::Signature { until_s, .. }) => Some(*until_s),
            _ => None,
        };
        Self {
            delivery: call.delivery,
            until_s,
        }
    }

    /// Whether nothing but the same delivery may come under this name again.
    pub(super) const fn is_once(&self) -> bool {
        self.until_s.is_some()
    }

    /// Whether its signature began a request, of which its log may tell nothing any more.
    pub(super) fn is_used(&self, signatures: &Signatures, request: RequestId) -> bool {
        self.is_once() && self.delivery.is_none() && signatures.has(request)
    }

    pub(super) fn use_up(&self, signatures: &Signatures, request: RequestId) {
        if let Some(until_s) = self.until_s {
            signatures.add(request, until_s, now_us() / 1_000_000);
        }
    }
}

impl Signatures {
    fn has(&self, request: RequestId) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .until_s
            .contains_key(&request)
    }

    fn add(&self, request: RequestId, until_s: u64, now_s: u64) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.until_s.len() >= used.many {
            used.until_s.retain(|_, until_s| *until_s >= now_s);
            used.many = (2 * used.until_s.len()).max(1_024);
        }
        used.until_s.insert(request, until_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_known_as_long_as_they_hold_and_do_not_pile_up() {
        let signatures = Signatures::default();
        let id = |n: u128| RequestId::from_uuid(uuid::Uuid::from_u128(n));
        for n in 0..100_000 {
            let now_s = u64::try_from(n).unwrap() / 100;
            signatures.add(id(n), now_s + 10, now_s);
            assert!(signatures.has(id(n)));
            assert!(n < 1_000 || signatures.has(id(n - 900)));
        }
        let held = signatures.0.lock().unwrap().until_s.len();
        assert!(held < 5_000, "{held}");
        assert!(!signatures.has(id(0)));
    }
}
