//! Whether the state answered all the time: only then does a heartbeat that is missing say something of
//! whoever should have written it. A connection may stand while its server is stopped, and so may the
//! process that looks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::Link;

/// Two answers that lie further apart than this part of a heartbeat's lifetime leave a gap.
const GAP: u32 = 2;

/// Watches how steadily the state answers a process that asks it at least four times in a heartbeat's
/// lifetime.
#[derive(Debug)]
pub struct Steady {
    link: watch::Receiver<Link>,
    heartbeat: Duration,
    answers: Mutex<Option<Answers>>,
}

/// Answers without a gap.
#[derive(Debug, Clone, Copy)]
struct Answers {
    first: Instant,
    last: Instant,
}

impl Steady {
    /// Of a state whose heartbeats last this long.
    #[must_use]
    pub const fn new(link: watch::Receiver<Link>, heartbeat: Duration) -> Self {
        Self {
            link,
            heartbeat,
            answers: Mutex::new(None),
        }
    }

    /// The state has just answered.
    pub fn answered(&self) {
        let last = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let steady = answers.filter(|it| !self.is_gap(it.last));
        let first = steady.map_or(last, |it| it.first);
        *answers = Some(Answers { first, last });
    }

    /// Whether it did so for a heartbeat's lifetime, up to now, and over one connection.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let link = *self.link.borrow();
        let answers = *self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let stood = |since: Instant| since.elapsed() >= self.heartbeat;
        let answers = answers.filter(|it| stood(it.first) && !self.is_gap(it.last));
        link.is_up && stood(link.since) && answers.is_some()
    }

    fn is_gap(&self, last: Instant) -> bool {
        last.elapsed() > self.heartbeat / GAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    async fn answers(steady: &Steady, apart_ms: u64, times: u32) {
        for _ in 0..times {
            tokio::time::advance(Duration::from_millis(apart_ms)).await;
            steady.answered();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_steady_once_it_answered_for_a_heartbeat_without_a_gap() {
        let steady = Steady::new(Link::of_process(), HEARTBEAT);
        steady.answered();
        answers(&steady, 2_500, 3).await;
        assert!(!steady.is_steady(), "7.5 s");
        answers(&steady, 2_500, 1).await;
        assert!(steady.is_steady(), "10 s");
        tokio::time::advance(Duration::from_millis(5_001)).await;
        assert!(!steady.is_steady(), "nothing for more than 5 s");
        answers(&steady, 0, 1).await;
        assert!(!steady.is_steady(), "it begins anew");
        answers(&steady, 2_500, 4).await;
        assert!(steady.is_steady());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_not_steady_however_it_answers() {
        let (sender, link) = watch::channel(Link {
            era: 1,
            is_up: true,
            since: Instant::now(),
        });
        let steady = Steady::new(link, HEARTBEAT);
        steady.answered();
        answers(&steady, 2_500, 4).await;
        assert!(steady.is_steady());
        let (era, since) = (2, Instant::now());
        sender.send_replace(Link {
            era,
            since,
            is_up: true,
        });
        assert!(!steady.is_steady());
        answers(&steady, 2_500, 4).await;
        assert!(steady.is_steady());
    }
}
