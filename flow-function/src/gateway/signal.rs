//! Wakes whoever waits on a connection, but not whoever is at work on it.
//!
//! The ends of a call, its connection and its answer, wake one another. Both belong to one task, which
//! would be put off and run once more, maybe on another thread. Here it takes another turn at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Turns before other tasks have theirs: a short answer takes two.
const TURNS_MAX: u32 = 8;

/// Somebody is at work, or nobody cares.
const BUSY: u8 = 0;
/// Somebody waits.
const WAITING: u8 = 1;
/// Something came up since.
const CALLED: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Signal {
    /// Takes turns until there is a result, or nothing more can be done for now.
    pub(super) fn poll<T>(
        self: &Arc<Self>,
        cx: &Context<'_>,
        mut turn: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(cx.waker());
        let waker = Waker::from(Arc::clone(self));
        for _ in 0..TURNS_MAX {
            self.state.store(BUSY, Ordering::SeqCst);
            let polled = turn(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                return polled;
            }
            let (order, busy) = (Ordering::SeqCst, BUSY);
            if self
                .state
                .compare_exchange(busy, WAITING, order, order)
                .is_ok()
            {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nobody waits any more.
    pub(super) fn rest(&self) {
        self.state.store(BUSY, Ordering::SeqCst);
        drop(self.task.take());
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(CALLED, Ordering::SeqCst) == WAITING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_is_at_work_takes_another_turn_and_who_waits_is_woken_once() {
        let (task, signal) = (Arc::new(Task::default()), Arc::new(Signal::default()));
        let woken = || task.0.load(Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task));
        let cx = Context::from_waker(&waker);
        let mut turns = 0;
        let mut kept = None;
        let polled = signal.poll(&cx, |cx| {
            turns += 1;
            kept = Some(cx.waker().clone());
            if turns < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((turns, woken()), (3, 0));
        let kept = kept.unwrap();
        kept.wake_by_ref();
        kept.wake_by_ref();
        assert_eq!(woken(), 1);
        assert!(signal.poll(&cx, |_| Poll::Ready(())).is_ready());
        signal.rest();
        kept.wake();
        assert_eq!(woken(), 1, "nobody waits");
    }

    #[test]
    fn who_is_called_without_end_lets_others_have_their_turn() {
        let (task, signal) = (Arc::new(Task::default()), Arc::new(Signal::default()));
        let waker = Waker::from(Arc::clone(&task));
        let polled = signal.poll(&Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
    }
}
