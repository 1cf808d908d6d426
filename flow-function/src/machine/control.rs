//! What may be asked of a request from outside, and when.

use std::sync::Arc;

use turlough_sdk::{Flow, Operation, Place, StepPath};
use turlough_statestore::Event;

use super::action::Conclusion;
use super::body::Body;
use super::frame::State;
use super::mutation::{Mutation, planted};
use super::timers::SIGNALS_MAX;
use super::{Execution, Phase, Slot};
use crate::fault::{self, Fault};

/// Why a request does not take what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request has ended")]
    Ended,
    #[error("the request's end is decided already, and it is being unwound")]
    Unwinding,
    #[error("the request is not paused")]
    NotPaused,
    #[error("the request has not ended; only a failed, timed out or cancelled one is restarted")]
    Running,
    #[error("the request succeeded; only a failed, timed out or cancelled one is restarted")]
    Succeeded,
    #[error("the request's data is dropped, and it cannot be restarted any more")]
    Closed,
    #[error("the request keeps {SIGNALS_MAX} signals that nobody has taken, the limit")]
    Signals,
    #[error("step {0} is none that ran in this request; name one of those that it shows")]
    NoStep(StepPath),
    #[error("version {0} of the flow is not here")]
    NoVersion(String),
    #[error(
        "step {step} is not in version {version} of the flow; name one that is, or leave the version out"
    )]
    Misfit { step: StepPath, version: String },
    #[error("the attempt is not waiting: it has ended, or another one took its place")]
    NotWaiting,
    #[error("only a driver appends this")]
    Foreign,
}

impl Execution {
    /// Whether an external event counts now.
    pub(crate) fn allows(&self, event: &Event) -> Result<(), Refusal> {
        match event {
            Event::Part { .. } => Ok(()),
            Event::Signalled { name, .. } => {
                self.is_open()?;
                if self.signals_kept() >= SIGNALS_MAX && !self.is_wanted(name) {
                    return Err(Refusal::Signals);
                }
                Ok(())
            }
            Event::PauseAsked { .. } | Event::CancelAsked { .. } => self.is_open(),
            Event::ResumeAsked { .. } => {
                self.is_open()?;
                if self.paused {
                    Ok(())
                } else {
                    Err(Refusal::NotPaused)
                }
            }
            Event::RestartAsked { from, version, .. } => {
                self.allows_restart(from.as_ref(), version.as_deref())
            }
            Event::StepEnded(ended) => {
                if self.is_completable(ended) {
                    Ok(())
                } else {
                    Err(Refusal::NotWaiting)
                }
            }
            _ => Err(Refusal::Foreign),
        }
    }

    const fn is_open(&self) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Unwinding(_) | Phase::Ending { .. } => Err(Refusal::Unwinding),
            _ => Err(Refusal::Ended),
        }
    }

    fn allows_restart(
        &self,
        from: Option<&StepPath>,
        version: Option<&str>,
    ) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Ended {
                restartable: true, ..
            } => {}
            Phase::Ended {
                restartable: false, ..
            } => return Err(Refusal::Succeeded),
            Phase::Closing if fault::planted(Fault::ClosedRestarted) => {}
            Phase::Closing | Phase::Settled => return Err(Refusal::Closed),
            _ => return Err(Refusal::Running),
        }
        let flow = match version {
            Some(version) => self.version(version)?,
            None => Arc::clone(&self.flow),
        };
        let Some(from) = from else { return Ok(()) };
        let found = self.find_ancestor(from).filter(|_| self.is_step(from));
        let (root, _) = found.ok_or_else(|| Refusal::NoStep(from.clone()))?;
        let id = &self.frame(0).ok_or(Refusal::Ended)?.graph.nodes[root].id;
        let fits = flow.graph().nodes.iter().any(|node| node.id == *id);
        let version = flow.version().to_string();
        let step = from.clone();
        if fits {
            Ok(())
        } else {
            Err(Refusal::Misfit { step, version })
        }
    }

    /// Whether a path names a step that the flow can have: in a graph made at run time any.
    fn is_step(&self, step: &StepPath) -> bool {
        let (Ok(segments), Some(root)) = (step.segments(), self.frame(0)) else {
            return false;
        };
        let mut graph = Arc::clone(&root.graph);
        for (at, (id, place)) in segments.iter().enumerate() {
            let Some(ix) = graph.nodes.iter().position(|node| node.id == *id) else {
                return false;
            };
            let node = &graph.nodes[ix];
            if at + 1 == segments.len() {
                return true;
            }
            let body = match (&node.operation, place) {
                (Operation::ForEach(each), Some(Place::Item(item))) => {
                    // How many items there are is known of the outermost alone.
                    let items = match root.bodies.get(&ix).filter(|_| at == 0) {
                        Some(Body::Each(each)) => each.ended().1,
                        _ => usize::MAX,
                    };
                    if *item as usize >= items {
                        return false;
                    }
                    Arc::clone(&each.body)
                }
                (Operation::Loop(looped), Some(Place::Iteration(number))) => {
                    if *number == 0 || *number > looped.iterations_max {
                        return false;
                    }
                    Arc::clone(&looped.body)
                }
                (Operation::Expand(_), None) => return true,
                _ => return false,
            };
            graph = body;
        }
        false
    }

    pub(super) fn version(&self, version: &str) -> Result<Arc<Flow>, Refusal> {
        let found = (self.versions.0)(version);
        let same = found.filter(|flow| flow.name() == self.flow.name());
        same.ok_or_else(|| Refusal::NoVersion(version.chars().take(80).collect()))
    }

    pub(super) fn pause(&mut self, at_us: u64) {
        self.see(at_us);
        if matches!(self.phase, Phase::Open) {
            self.paused = true;
        }
    }

    pub(super) fn resume(&mut self, at_us: u64) {
        self.see(at_us);
        self.paused = false;
        if planted(Mutation::ResumeTwice) {
            let open: Vec<_> = self
                .open
                .iter()
                .map(|(step, slot)| (step.clone(), *slot))
                .collect();
            for (step, slot) in open {
                if let Slot::Node(ix, node) = slot
                    && let Some(State::Open(attempt)) = self.state_mut(ix, node)
                {
                    attempt.told = false;
                    self.fresh.push_back(step);
                }
            }
        }
    }

    pub(super) fn cancel(&mut self, at_us: u64) {
        self.see(at_us);
        self.conclude(Conclusion::Cancelled);
    }
}
