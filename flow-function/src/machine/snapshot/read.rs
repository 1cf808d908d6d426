//! From the encoding to a machine.

use std::sync::Arc;

use turlough_sdk::{Graph, Place, RequestId, StepPath};

use super::RestoreError;
use super::origin::{Origins, body, root};
use super::saved::{
    Saved, SavedBody, SavedConclusion, SavedFrame, SavedOwner, SavedPhase, SavedSlot, SavedState,
    SavedUndo,
};
use super::table::Values;
use crate::machine::action::Conclusion;
use crate::machine::frame::{Body, Each, Frame, Item, Loop, Owner, State};
use crate::machine::timers::Signals;
use crate::machine::undo::Undo;
use crate::machine::unwind::Unwinding;
use crate::machine::{Execution, Phase, Slot, Stray, Versions};

impl Execution {
    pub(super) fn load(
        request: RequestId,
        versions: Versions,
        saved: Saved,
    ) -> Result<Self, RestoreError> {
        let values = Values::new(saved.values, saved.maps)?;
        let mut origins =
            Origins::new(versions.clone(), &saved.flow, &saved.version, saved.graphs)?;
        let frames = load_frames(saved.frames, &values, &origins)?;
        let undo = saved.undo.into_iter();
        let undo = undo.map(|undo| load_undo(undo, &values, &mut origins));
        let undo = undo.collect::<Result<Vec<_>, _>>()?;
        let mut execution = Self {
            phase: load_phase(saved.phase, &values)?,
            paused: saved.paused,
            generation: saved.generation,
            epoch: saved.epoch,
            holder: saved.holder,
            take_overs: saved.take_overs,
            last: saved.last,
            heard: saved.heard.into_iter().collect(),
            accepted: saved.accepted,
            deadline_us: saved.deadline_us,
            now_us: saved.now_us,
            frames,
            free: saved.free,
            fresh: saved.fresh.into(),
            parked: saved.parked,
            stopped: saved.stopped,
            timers: saved.timers.into_iter().collect(),
            signals: load_signals(saved.signals, saved.waiting, &values)?,
            variables: Arc::new(saved.variables),
            undo_at: undo
                .iter()
                .enumerate()
                .map(|(at, undo)| (undo.step.clone(), at))
                .collect(),
            undo,
            trouble: saved.trouble,
            failures: saved
                .failures
                .into_iter()
                .map(|(step, error)| (step, Arc::new(error)))
                .collect(),
            remade: saved
                .remade
                .into_iter()
                .map(|(step, (times, old))| {
                    let old = old.map(|old| load_state(old, &values)).transpose()?;
                    Ok((step, (times, old)))
                })
                .collect::<Result<_, RestoreError>>()?,
            handled: saved.handled,
            is_finished: saved.is_finished,
            resets: saved.resets.into_iter().collect(),
            expanded: saved.expanded,
            ..Self::new(request, Arc::clone(&origins.flow), versions)
        };
        for slot in saved.open {
            let (step, slot) = execution.load_slot(slot)?;
            execution.open.insert(step, slot);
        }
        Ok(execution)
    }

    fn load_slot(&self, saved: SavedSlot) -> Result<(StepPath, Slot), RestoreError> {
        match saved {
            SavedSlot::Node(ix, node) => {
                let frame = self.frame(ix).filter(|frame| node < frame.states.len());
                let path = frame.map(|frame| frame.path(node));
                let path =
                    path.ok_or_else(|| broken(format!("node {node} of frame {ix} is open")))?;
                Ok((path, Slot::Node(ix, node)))
            }
            SavedSlot::Undo(at) => {
                let undo = self.undo.get(at);
                let undo = undo.ok_or_else(|| broken(format!("compensation {at} is open")))?;
                Ok((undo.step.compensation(), Slot::Undo(at)))
            }
            SavedSlot::Stray {
                step,
                attempt,
                called,
                limit_us,
                due_us,
                undone,
            } => {
                let stray = Stray {
                    attempt,
                    called,
                    limit_us,
                    due_us,
                    undone,
                };
                Ok((step, Slot::Stray(stray)))
            }
        }
    }
}

fn broken(text: String) -> RestoreError {
    RestoreError::Broken(format!("{text}, and there is none"))
}

fn load_signals(
    kept: std::collections::BTreeMap<String, Vec<u32>>,
    waiting: std::collections::BTreeMap<String, Vec<(StepPath, u32)>>,
    values: &Values,
) -> Result<Signals, RestoreError> {
    let mut signals = Signals::default();
    for (name, places) in kept {
        signals.count += places.len();
        let kept = places.into_iter().map(|at| values.value(at));
        signals.kept.insert(name, kept.collect::<Result<_, _>>()?);
    }
    let waiting = waiting
        .into_iter()
        .map(|(name, steps)| (name, steps.into()));
    signals.waiting = waiting.collect();
    Ok(signals)
}

fn load_phase(saved: SavedPhase, values: &Values) -> Result<Phase, RestoreError> {
    let conclude = |saved| {
        Ok::<_, RestoreError>(match saved {
            SavedConclusion::Succeeded(output) => Conclusion::Succeeded(values.given(output)?),
            SavedConclusion::Failed(error) => Conclusion::Failed(Arc::new(error)),
            SavedConclusion::TimedOut => Conclusion::TimedOut,
            SavedConclusion::Cancelled => Conclusion::Cancelled,
        })
    };
    Ok(match saved {
        SavedPhase::New => Phase::New,
        SavedPhase::Open => Phase::Open,
        SavedPhase::Unwinding {
            conclusion,
            until_us,
            at,
        } => Phase::Unwinding(Box::new(Unwinding {
            conclusion: conclude(conclusion)?,
            until_us,
            at,
        })),
        SavedPhase::Ending { conclusion, told } => Phase::Ending {
            conclusion: conclude(conclusion)?,
            told,
        },
        SavedPhase::Ended { restartable, owed } => Phase::Ended { restartable, owed },
        SavedPhase::Closing => Phase::Closing,
        SavedPhase::Settled => Phase::Settled,
    })
}

/// Frames, each after the one that it stands in: their graphs and paths come from there.
fn load_frames(
    saved: Vec<Option<SavedFrame>>,
    values: &Values,
    origins: &Origins,
) -> Result<Vec<Option<Box<Frame>>>, RestoreError> {
    let mut saved = saved;
    let mut frames: Vec<Option<Box<Frame>>> = saved.iter().map(|_| None).collect();
    for first in 0..saved.len() {
        let (mut chain, mut ix) = (Vec::new(), first);
        while let Some(frame) = saved.get_mut(ix).and_then(Option::take) {
            let outer = frame.owner.as_ref().map(|owner| owner.frame);
            chain.push((ix, frame));
            match outer {
                Some(outer) => ix = outer,
                None => break,
            }
        }
        for (ix, frame) in chain.into_iter().rev() {
            frames[ix] = Some(Box::new(load_frame(ix, frame, &frames, (values, origins))?));
        }
    }
    Ok(frames)
}

fn load_frame(
    ix: usize,
    saved: SavedFrame,
    frames: &[Option<Box<Frame>>],
    (values, origins): (&Values, &Origins),
) -> Result<Frame, RestoreError> {
    let made = origins.made(saved.made)?;
    let (graph, owner) = match saved.owner {
        None => (root(&origins.flow, saved.root)?, None),
        Some(owner) => {
            let outer = frames.get(owner.frame).and_then(Option::as_deref);
            let found = outer.and_then(|outer| load_owner(&owner, outer, made.map(|(_, g)| g)));
            let (graph, owner) =
                found.ok_or_else(|| broken(format!("frame {ix} runs the body of a node")))?;
            (graph, Some(owner))
        }
    };
    let nodes = graph.nodes.len();
    if saved.states.len() != nodes || saved.attempts.len() != nodes {
        let found = saved.states.len();
        let text = format!("frame {ix} has {found} nodes, and its graph {nodes}");
        return Err(RestoreError::Broken(text));
    }
    let states = saved
        .states
        .into_iter()
        .map(|state| load_state(state, values));
    let bodies = saved.bodies.into_iter();
    let bodies = bodies.map(|(node, body)| Ok((node, load_body(body, values)?)));
    let numbers = saved.numbers.into_iter();
    Ok(Frame {
        graph,
        owner,
        root: saved.root,
        input: values.given(saved.input)?,
        states: states.collect::<Result<_, _>>()?,
        attempts: saved.attempts.into_iter().collect(),
        unresolved: saved.unresolved,
        outer_dead: saved
            .outer_dead
            .into_iter()
            .map(|edge| (edge, ()))
            .collect(),
        bodies: bodies.collect::<Result<_, RestoreError>>()?,
        numbers: numbers
            .map(|(node, low, high)| (node, (low, high)))
            .collect(),
        once: saved.once.into_iter().collect(),
        made: made.map(|(made, _)| Arc::clone(made)),
    })
}

fn load_owner(
    saved: &SavedOwner,
    outer: &Frame,
    made: Option<&Arc<Graph>>,
) -> Option<(Arc<Graph>, Owner)> {
    let place = match (saved.item, saved.iteration) {
        (Some(item), _) => Some(Place::Item(item)),
        (None, Some(iteration)) => Some(Place::Iteration(iteration)),
        (None, None) => None,
    };
    let graph = match place {
        Some(_) => body(&outer.graph, saved.node)?,
        None => made.cloned()?,
    };
    outer.graph.nodes.get(saved.node)?;
    let owner = Owner {
        frame: saved.frame,
        node: saved.node,
        place,
        path: outer.path(saved.node),
    };
    Some((graph, owner))
}

fn load_state(saved: SavedState, values: &Values) -> Result<State, RestoreError> {
    Ok(match saved {
        SavedState::Waiting { unresolved, live } => State::Waiting { unresolved, live },
        SavedState::Open(attempt) => State::Open(attempt.into()),
        SavedState::Body => State::Body,
        SavedState::Done(given) => State::Done(values.given(given)?),
        SavedState::Took { cases, value } => State::Took(cases.into(), values.given(value)?),
        SavedState::Skipped => State::Skipped,
        SavedState::Failed => State::Failed,
    })
}

fn load_body(saved: SavedBody, values: &Values) -> Result<Body, RestoreError> {
    Ok(match saved {
        SavedBody::Each {
            manifest,
            results,
            errors,
            next,
            redo,
            running,
        } => {
            let mut each = Each::new(0, values.value(manifest)?);
            let results = results.into_iter();
            let items = results.map(|given| Ok(Item::Idle(values.some(given)?)));
            each.items = items.collect::<Result<_, RestoreError>>()?;
            for (item, frame) in running {
                if item as usize >= each.items.len() {
                    return Err(broken(format!("item {item} runs")));
                }
                each.set(item, Item::Running(frame));
            }
            let errors = errors.into_iter();
            let errors = errors.map(|(item, error)| (item, Arc::new(error)));
            (each.errors, each.next, each.redo) = (errors.collect(), next, redo);
            Body::Each(Box::new(each))
        }
        SavedBody::Loop {
            state,
            iteration,
            frame,
        } => Body::Loop(Loop {
            state: values.some(state)?,
            iteration,
            frame,
        }),
        SavedBody::Expand { frame } => Body::Expand { frame },
    })
}

fn load_undo(
    saved: SavedUndo,
    values: &Values,
    origins: &mut Origins,
) -> Result<Undo, RestoreError> {
    let flow = origins.version(&saved.version);
    let made = origins.made(saved.made)?;
    let (graph, node) = Origins::of_step(&saved.step, &flow, made)?;
    let inputs = saved.inputs.into_iter();
    let inputs = inputs.map(|(name, given)| Ok((name, values.some(given)?)));
    Ok(Undo {
        step: saved.step,
        graph,
        flow,
        made: made.map(|(made, _)| Arc::clone(made)),
        node,
        inputs: inputs.collect::<Result<_, RestoreError>>()?,
        output: values.some(saved.output)?,
        done: saved.done,
        attempt: saved.attempt.map(Into::into),
        number: saved.number,
    })
}
