//! The attempts that run, and where.
//!
//! A step that is the only one to run is run by its driver's own task, which waits for nothing else:
//! a chain of steps then wakes no other task. All others are tasks of their own.
//!
//! Invariants: each attempt comes to one end here, also where it panics or is stopped; whoever stops
//! one finds it stopped at once, or never sees it take another step.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use turlough_sdk::StepPath;

use crate::runner::Attempted;

/// A step and the number of the attempt.
pub(super) type Key = (StepPath, u32);

/// The attempts of one driver.
#[derive(Debug, Default)]
pub(super) struct Running {
    attempts: HashMap<Key, Attempt>,
    tasks: JoinSet<Attempted>,
    /// Whose task it is.
    keys: HashMap<Id, Key>,
    here: Option<Here>,
}

/// What its driver has to know of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// It begins a sub-flow, which then goes on without it.
    pub(super) begins_child: bool,
    /// It must not be made twice.
    pub(super) is_once: bool,
}

#[derive(Debug)]
struct Attempt {
    /// None where the driver runs it.
    task: Option<AbortHandle>,
    marks: Marks,
}

/// The attempt that the driver's own task runs.
struct Here {
    key: Key,
    /// None once it was stopped. Only who has the driver to himself takes it out of the lock.
    work: Option<Mutex<Work>>,
}

type Work = Pin<Box<dyn Future<Output = Attempted> + Send>>;

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Here({:?})", self.key)
    }
}

/// An attempt that runs no more.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: Key,
    pub(super) marks: Marks,
    pub(super) end: End,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all of them come to something"
)]
pub(super) enum End {
    CameTo(Attempted),
    Stopped,
    /// It was lost, which is a bug; how.
    Lost(String),
}

impl Running {
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.attempts.contains_key(key)
    }

    /// Whether calls run that must not be made twice.
    pub(super) fn has_once(&self) -> bool {
        self.attempts.values().any(|attempt| attempt.marks.is_once)
    }

    /// Runs an attempt beside everything else.
    pub(super) fn spawn(
        &mut self,
        key: Key,
        marks: Marks,
        work: impl Future<Output = Attempted> + Send + 'static,
    ) {
        let task = self.tasks.spawn(work);
        self.keys.insert(task.id(), key.clone());
        let task = Some(task);
        self.attempts.insert(key, Attempt { task, marks });
    }

    /// Runs an attempt whenever the next end is waited for, if it is the only one; otherwise beside
    /// the others.
    pub(super) fn run_here(
        &mut self,
        key: Key,
        marks: Marks,
        work: impl Future<Output = Attempted> + Send + 'static,
    ) {
        if !self.is_empty() {
            return self.spawn(key, marks, work);
        }
        self.here = Some(Here {
            key: key.clone(),
            work: Some(Mutex::new(Box::pin(work))),
        });
        self.attempts.insert(key, Attempt { task: None, marks });
    }

    /// Stops an attempt. None where it does not run.
    pub(super) fn stop(&mut self, key: &Key) -> Option<Marks> {
        let attempt = self.attempts.get(key)?;
        match &attempt.task {
            Some(task) => task.abort(),
            None => stop_here(&mut self.here),
        }
        Some(attempt.marks)
    }

    /// Stops what can be done again, and names it.
    pub(super) fn stop_repeatable(&mut self) -> Vec<StepPath> {
        let mut stopped = Vec::new();
        for (key, attempt) in &self.attempts {
            if attempt.marks.is_once {
                continue;
            }
            match &attempt.task {
                Some(task) => task.abort(),
                None => stop_here(&mut self.here),
            }
            stopped.push(key.0.clone());
        }
        stopped
    }

    /// The next end. None where nothing runs.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// An end that is there already.
    pub(super) fn try_next(&mut self) -> Option<Ended> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.of_task(ended)
    }

    /// What runs goes on without the driver, for as long as this is kept.
    pub(super) fn hand_out(&mut self) -> JoinSet<Attempted> {
        let Self {
            mut tasks, here, ..
        } = std::mem::take(self);
        if let Some(work) = here.and_then(|here| here.work) {
            let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(work);
        }
        tasks
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        if let Poll::Ready(ended) = self.poll_here(cx) {
            return Poll::Ready(ended);
        }
        match self.tasks.poll_join_next_with_id(cx) {
            Poll::Ready(Some(ended)) => Poll::Ready(self.of_task(ended)),
            Poll::Ready(None) if self.here.is_none() => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        let Some(here) = &mut self.here else {
            return Poll::Pending;
        };
        let end = match &mut here.work {
            None => End::Stopped,
            Some(work) => {
                let work = work.get_mut().unwrap_or_else(PoisonError::into_inner);
                match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                    Ok(polled) => End::CameTo(ready!(polled)),
                    Err(_) => End::Lost("its future panicked".to_owned()),
                }
            }
        };
        let key = self.here.take().map(|here| here.key);
        Poll::Ready(key.and_then(|key| self.ended(key, end)))
    }

    fn of_task(&mut self, ended: Result<(Id, Attempted), JoinError>) -> Option<Ended> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let key = self.keys.remove(&id)?;
        let end = match ended {
            Ok((_, attempted)) => End::CameTo(attempted),
            Err(error) if error.is_cancelled() => End::Stopped,
            Err(error) => End::Lost(error.to_string()),
        };
        self.ended(key, end)
    }

    fn ended(&mut self, key: Key, end: End) -> Option<Ended> {
        let marks = self.attempts.remove(&key)?.marks;
        Some(Ended { key, marks, end })
    }
}

fn stop_here(here: &mut Option<Here>) {
    if let Some(here) = here {
        here.work = None;
    }
}

#[cfg(test)]
mod tests;
