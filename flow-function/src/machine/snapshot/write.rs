//! From a machine to its encoding.

use std::sync::Arc;

use turlough_statestore::Seq;
use turlough_statestore::event::Trouble;

use super::saved::{
    FORMAT, Saved, SavedBody, SavedConclusion, SavedFrame, SavedOwner, SavedPhase, SavedSlot,
    SavedState, SavedUndo,
};
use super::table::Tables;
use crate::machine::frame::{Body, Each, Frame, Loop, Owner, State};
use crate::machine::mutation::{Mutation, planted};
use crate::machine::timers::Signals;
use crate::machine::undo::Undo;
use crate::machine::unwind::Unwinding;
use crate::machine::{Execution, HashMap, Phase, Slot, Stray};
use turlough_sdk::Place;

impl Execution {
    #[allow(
        clippy::too_many_lines,
        reason = "each field by its name, so that a new one is not forgotten"
    )]
    pub(super) fn save(&self, of: Seq) -> Saved {
        let Self {
            // Known to whoever reads it.
            request: _,
            versions: _,
            flow,
            phase,
            paused,
            generation,
            epoch,
            holder,
            take_overs,
            last,
            heard,
            accepted,
            deadline_us,
            now_us,
            frames,
            free,
            open,
            fresh,
            // Told anew after a claim.
            recorded: _,
            parked,
            stopped,
            timers,
            signals,
            variables,
            undo,
            // Follows from `undo`.
            undo_at: _,
            trouble,
            failures,
            remade,
            is_finished,
            handled,
            resets,
            expanded,
            // Empty between events.
            later: _,
            room: _,
        } = self;
        let mut tables = Tables::default();
        let mut heard: Vec<_> = heard.iter().copied().collect();
        heard.sort_unstable_by_key(|id| id.0);
        let frames = frames
            .iter()
            .map(|frame| Some(save_frame(frame.as_deref()?, &mut tables)));
        let frames = frames.collect();
        let Signals {
            kept,
            waiting,
            count: _,
        } = signals;
        let kept = sorted(kept).filter(|(_, kept)| !kept.is_empty());
        let waiting = waiting.iter().filter(|(_, steps)| !steps.is_empty());
        let remade = sorted(remade).map(|(step, (times, old))| {
            let old = old.as_ref().map(|old| save_state(old, &mut tables));
            (step.clone(), (*times, old))
        });
        let remade = remade.collect();
        let failures = failures
            .iter()
            .map(|(s, error)| (s.clone(), Trouble::clone(error)));
        let signals = kept
            .map(|(name, kept)| {
                let kept = kept.iter().map(|value| tables.value(value));
                (name.clone(), kept.collect())
            })
            .collect();
        let undo = undo
            .iter()
            .map(|undo| save_undo(undo, &mut tables))
            .collect();
        let phase = save_phase(phase, &mut tables);
        let mut open: Vec<_> = open.iter().collect();
        open.sort_unstable_by_key(|(step, _)| *step);
        Saved {
            format: FORMAT,
            of,
            last: last.filter(|_| !planted(Mutation::SnapshotWithoutLast)),
            flow: flow.name().to_string(),
            version: flow.version().to_string(),
            generation: *generation,
            epoch: *epoch,
            holder: *holder,
            take_overs: *take_overs,
            paused: *paused,
            deadline_us: *deadline_us,
            now_us: *now_us,
            expanded: *expanded,
            accepted: accepted.clone(),
            phase,
            heard,
            values: tables.values,
            maps: tables.maps,
            graphs: tables.graphs,
            frames,
            free: free.clone(),
            open: open
                .into_iter()
                .map(|(step, slot)| save_slot(step, *slot))
                .collect(),
            fresh: fresh.iter().cloned().collect(),
            parked: parked.clone(),
            stopped: stopped.clone(),
            timers: timers.iter().cloned().collect(),
            signals,
            waiting: waiting
                .map(|(name, steps)| (name.clone(), steps.iter().cloned().collect()))
                .collect(),
            variables: (**variables).clone(),
            undo,
            trouble: trouble.clone(),
            failures: failures.collect(),
            remade,
            handled: *handled,
            is_finished: *is_finished,
            resets: resets
                .iter()
                .map(|(step, at)| (step.clone(), *at))
                .collect(),
        }
    }
}

/// In order: the same state has the same bytes.
fn sorted<K: Ord, V>(map: &HashMap<K, V>) -> impl Iterator<Item = (&K, &V)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all.into_iter()
}

fn save_slot(step: &turlough_sdk::StepPath, slot: Slot) -> SavedSlot {
    match slot {
        Slot::Node(frame, node) => SavedSlot::Node(frame, node),
        Slot::Undo(at) => SavedSlot::Undo(at),
        Slot::Stray(Stray {
            attempt,
            called,
            limit_us,
            due_us,
            undone,
        }) => SavedSlot::Stray {
            step: step.clone(),
            attempt,
            called,
            limit_us,
            due_us,
            undone,
        },
    }
}

fn save_phase(phase: &Phase, tables: &mut Tables) -> SavedPhase {
    match phase {
        Phase::New => SavedPhase::New,
        Phase::Open => SavedPhase::Open,
        Phase::Unwinding(unwinding) => {
            let Unwinding {
                conclusion,
                until_us,
                at,
            } = &**unwinding;
            SavedPhase::Unwinding {
                conclusion: SavedConclusion::from(conclusion, |given| tables.given(given)),
                until_us: *until_us,
                at: *at,
            }
        }
        Phase::Ending { conclusion, told } => SavedPhase::Ending {
            conclusion: SavedConclusion::from(conclusion, |given| tables.given(given)),
            told: *told,
        },
        Phase::Ended { restartable, owed } => SavedPhase::Ended {
            restartable: *restartable,
            owed: owed.clone(),
        },
        Phase::Closing => SavedPhase::Closing,
        Phase::Settled => SavedPhase::Settled,
    }
}

fn save_frame(frame: &Frame, tables: &mut Tables) -> SavedFrame {
    let Frame {
        // Found again by its owner.
        graph: _,
        owner,
        root,
        input,
        states,
        attempts,
        unresolved,
        outer_dead,
        bodies,
        numbers,
        once,
        made,
    } = frame;
    let mut bodies: Vec<_> = bodies.iter().collect();
    bodies.sort_unstable_by_key(|(node, _)| **node);
    let mut numbers: Vec<_> = numbers
        .iter()
        .map(|(node, (low, high))| (*node, *low, *high))
        .collect();
    numbers.sort_unstable();
    SavedFrame {
        owner: owner.as_ref().map(save_owner),
        root: *root,
        input: tables.given(input),
        states: states
            .iter()
            .map(|state| save_state(state, tables))
            .collect(),
        attempts: attempts.to_vec(),
        unresolved: *unresolved,
        outer_dead: outer_dead.iter().map(|(edge, ())| *edge).collect(),
        bodies: bodies
            .into_iter()
            .map(|(node, body)| (*node, save_body(body, tables)))
            .collect(),
        numbers,
        once: once.iter().map(|(node, calls)| (*node, *calls)).collect(),
        made: made.as_ref().map(|made| tables.graph(made)),
    }
}

fn save_owner(owner: &Owner) -> SavedOwner {
    // The path follows from the frame that it names.
    let Owner {
        frame,
        node,
        place,
        path: _,
    } = owner;
    let (item, iteration) = match place {
        Some(Place::Item(item)) => (Some(*item), None),
        Some(Place::Iteration(iteration)) => (None, Some(*iteration)),
        None => (None, None),
    };
    SavedOwner {
        frame: *frame,
        node: *node,
        item,
        iteration,
    }
}

fn save_state(state: &State, tables: &mut Tables) -> SavedState {
    match state {
        State::Waiting { unresolved, live } => SavedState::Waiting {
            unresolved: *unresolved,
            live: *live,
        },
        State::Open(attempt) => SavedState::Open(attempt.into()),
        State::Body => SavedState::Body,
        State::Done(given) => SavedState::Done(tables.given(given)),
        State::Took(cases, given) => SavedState::Took {
            cases: cases.to_vec(),
            value: tables.given(given),
        },
        State::Skipped => SavedState::Skipped,
        State::Failed => SavedState::Failed,
    }
}

fn save_body(body: &Body, tables: &mut Tables) -> SavedBody {
    match body {
        Body::Each(each) => {
            let Each {
                manifest,
                // Follows from where it stands.
                path: _,
                items,
                // Counted again.
                running: _,
                errors,
                next,
                redo,
            } = &**each;
            let errors = errors
                .iter()
                .map(|(item, error)| (*item, Trouble::clone(error)));
            SavedBody::Each {
                manifest: tables.value(manifest),
                results: items
                    .iter()
                    .map(|item| item.result().map(|given| tables.given(&given)))
                    .collect(),
                errors: errors.collect(),
                next: *next,
                redo: redo.clone(),
                running: each.runs().collect(),
            }
        }
        Body::Loop(Loop {
            state,
            iteration,
            frame,
        }) => SavedBody::Loop {
            state: state.as_ref().map(|state| tables.given(state)),
            iteration: *iteration,
            frame: *frame,
        },
        Body::Expand { frame } => SavedBody::Expand { frame: *frame },
    }
}

fn save_undo(undo: &Undo, tables: &mut Tables) -> SavedUndo {
    let Undo {
        step,
        // Found again by the step's path.
        graph: _,
        node: _,
        flow,
        made,
        inputs,
        output,
        done,
        attempt,
        number,
    } = undo;
    let input = |(name, given): &(Arc<str>, Option<_>)| {
        (
            Arc::clone(name),
            given.as_ref().map(|given| tables.given(given)),
        )
    };
    let inputs = inputs.iter().map(input).collect();
    SavedUndo {
        step: step.clone(),
        version: flow.version().to_string(),
        made: made.as_ref().map(|made| tables.graph(made)),
        inputs,
        output: output.as_ref().map(|output| tables.given(output)),
        done: *done,
        attempt: attempt.as_ref().map(Into::into),
        number: *number,
    }
}
