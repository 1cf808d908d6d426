//! A host: what runs on it dies with its runtime, and stands still while it is stopped.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::Instant;
use turlough_keeper::Keeper;
use turlough_statestore::Link;

use super::time::Clocks;
use crate::engine::Engine;

/// How a host's connection to the server stands.
pub(super) type LinkOf = watch::Receiver<Link>;

/// What a host is there for.
#[derive(Debug)]
pub(super) enum Part {
    /// It keeps the state and runs the functions.
    Ground,
    Replica(Engine),
    /// The keeper, once it has begun.
    Keeper(Arc<OnceLock<Keeper>>),
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) part: Part,
    runtime: Option<Runtime>,
    clocks: Clocks,
    link: watch::Sender<Link>,
    /// Until when it is stopped.
    pub(super) stopped_until: Option<Duration>,
    /// Until when it is cut off from the server.
    pub(super) cut_until: Option<Duration>,
}

impl Host {
    /// A host that begins now.
    pub(super) fn new(
        name: &str,
        now: Duration,
        part: impl FnOnce(&Handle, LinkOf) -> Part,
    ) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let entered = runtime.enter();
        let begin = Instant::now();
        let clocks = Clocks {
            begin,
            born: now,
            shift_us: 0,
        };
        let link = watch::Sender::new(Link {
            era: 1,
            is_up: true,
            since: begin,
        });
        let part = clocks.during(|| part(runtime.handle(), link.subscribe()));
        drop(entered);
        Self {
            name: name.to_owned(),
            part,
            runtime: Some(runtime),
            clocks,
            link,
            stopped_until: None,
            cut_until: None,
        }
    }

    pub(super) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }

    pub(super) const fn is_alive(&self) -> bool {
        self.runtime.is_some()
    }

    /// Whether it would hear whoever calls now.
    pub(super) const fn is_there(&self) -> bool {
        self.runtime.is_some() && self.stopped_until.is_none()
    }

    pub(super) const fn engine(&self) -> Option<&Engine> {
        match &self.part {
            Part::Replica(engine) => Some(engine),
            _ => None,
        }
    }

    pub(super) fn keeper(&self) -> Option<&Keeper> {
        match &self.part {
            Part::Keeper(keeper) => keeper.get(),
            _ => None,
        }
    }

    /// It is gone, at once, with all that it had in memory.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let clocks = self.clocks;
            clocks.during(|| runtime.shutdown_background());
        }
    }

    /// Its wall clock jumps.
    pub(super) const fn jump(&mut self, by_us: i64) {
        self.clocks.shift_us += by_us;
    }

    pub(super) fn connect(&self, is_up: bool) {
        let Some(runtime) = &self.runtime else { return };
        let _entered = runtime.enter();
        let since = Instant::now();
        self.clocks.during(|| {
            self.link.send_if_modified(|link| {
                let changes = link.is_up != is_up;
                if changes {
                    let era = link.era + u64::from(is_up);
                    *link = Link { era, is_up, since };
                }
                changes
            });
        });
    }

    /// All that it does until then, if it is not stopped.
    pub(super) fn run_until(&mut self, now: Duration) {
        let Some(runtime) = &self.runtime else { return };
        let clocks = self.clocks;
        let until = clocks.begin + now.saturating_sub(clocks.born);
        if let Some(stopped_until) = self.stopped_until {
            if now < stopped_until {
                return;
            }
            self.stopped_until = None;
            // All that was to be done meanwhile is due at once.
            clocks.during(|| {
                runtime.block_on(async {
                    let gap = until.saturating_duration_since(Instant::now());
                    tokio::time::advance(gap).await;
                });
            });
        }
        clocks.during(|| runtime.block_on(async { tokio::time::sleep_until(until).await }));
    }

    /// Runs a task on it.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<tokio::task::JoinHandle<T>> {
        Some(self.handle()?.spawn(task))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}
