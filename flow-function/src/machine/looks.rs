//! What may be asked of a request's state.

use std::collections::BTreeMap;
use std::sync::Arc;

use turlough_sdk::{Flow, StepPath, ValueRef};
use turlough_statestore::event::{Accepted, Delivery, Trouble};
use turlough_statestore::{AppendId, Standing};

use super::frame::{Begun, Frame, State, StepState};
use super::given::Given;
use super::steps::commits_start;
use super::{Execution, Phase, Slot};

impl Execution {
    /// The flow, in the version on which it runs now.
    pub(crate) const fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Epoch of the newest claim that counted.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last append that counted.
    pub(crate) const fn last(&self) -> Option<AppendId> {
        self.last
    }

    /// How it began.
    pub(crate) fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_deref()
    }

    /// What steps have set, each as it was set last.
    pub(crate) fn variables(&self) -> &BTreeMap<String, ValueRef> {
        &self.variables
    }

    pub(crate) const fn deadline_us(&self) -> u64 {
        self.deadline_us
    }

    /// Whether its end is decided and reached, though it may not be stored yet.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) const fn is_concluded(&self) -> bool {
        !matches!(self.phase, Phase::New | Phase::Open | Phase::Unwinding(_))
    }

    pub(crate) const fn is_ended(&self) -> bool {
        matches!(
            self.phase,
            Phase::Ended { .. } | Phase::Closing | Phase::Settled
        )
    }

    /// Whether nothing is owed and nothing is held any more.
    pub(crate) const fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Settled)
    }

    /// Whether it ended so that it may be restarted.
    pub(crate) const fn is_restartable(&self) -> bool {
        matches!(
            self.phase,
            Phase::Ended {
                restartable: true,
                ..
            }
        )
    }

    /// Whether its data may go.
    pub(crate) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Settled)
    }

    /// What went wrong while it was unwound.
    pub(crate) fn trouble(&self) -> &[Trouble] {
        &self.trouble
    }

    /// Word of its end that is still owed.
    pub(crate) fn owed(&self) -> &[Delivery] {
        match &self.phase {
            Phase::Ended { owed, .. } => owed,
            _ => &[],
        }
    }

    /// How it stands, as the API names it.
    pub(crate) const fn status(&self) -> &'static str {
        match &self.phase {
            Phase::Ended { .. } | Phase::Closing | Phase::Settled => "ended",
            _ => self.standing().name(),
        }
    }

    /// How the request stands, while it has not ended.
    pub(crate) const fn standing(&self) -> Standing {
        match &self.phase {
            Phase::New | Phase::Open if self.paused => Standing::Paused,
            Phase::Unwinding(_) | Phase::Ending { .. } => Standing::Unwinding,
            _ => Standing::Running,
        }
    }

    /// Whether an attempt is still waited for.
    pub(crate) fn awaits(&self, step: &StepPath, attempt: u32) -> bool {
        self.open
            .get(step)
            .is_some_and(|slot| self.attempt_number(*slot) == Some(attempt))
    }

    /// Whether the start of an open attempt has to be recorded, and is not: its log lost it.
    pub(crate) fn lacks_start(&self, step: &StepPath, attempt: u32) -> bool {
        let slot = self.open.get(step).copied();
        let slot = slot.filter(|slot| self.attempt_number(*slot) == Some(attempt));
        match slot {
            Some(Slot::Node(ix, node)) => self.frame(ix).is_some_and(|frame| {
                let vertex = &frame.graph.nodes[node];
                matches!(&frame.states[node], State::Open(open)
                    if open.begun == Begun::No && commits_start(vertex, open.stage))
            }),
            Some(Slot::Undo(at)) => self.undo_lacks_start(at),
            Some(Slot::Stray(_)) | None => false,
        }
    }

    /// The state of each node of the flow's own graph, for pictures of an open request.
    pub(crate) fn root_states(&self) -> Vec<StepState> {
        self.frame(0).map(Frame::step_states).unwrap_or_default()
    }

    /// Where the value of a step lies, while its frame is there.
    pub(crate) fn value_at(&self, step: &StepPath) -> Option<Given> {
        let (frame, node) = self.find(step)?;
        Self::value_of(self.frame(frame)?, node)
    }

    /// What a step is given, while its frame is there.
    pub(crate) fn inputs_at(&self, step: &StepPath) -> Option<Given> {
        let (ix, node) = self.find(step)?;
        let frame = self.frame(ix)?;
        Some(Given::join(self.inputs(frame, &frame.graph.nodes[node])))
    }

    /// Whether a step stands in a graph that is there.
    pub(crate) fn knows(&self, step: &StepPath) -> bool {
        self.find(step).is_some()
    }
}
