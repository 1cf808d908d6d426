//! The encoding of a snapshot: what the machine holds, apart from how it holds it.
//!
//! Field names and variants are those of format 1; what is added later has a default. Values and maps
//! of values are shared in a machine, and stand once here, in tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use turlough_sdk::{StepPath, ValueRef};
use turlough_statestore::event::{Accepted, Delivery, Trouble};
use turlough_statestore::{AppendId, Seq};

use crate::machine::action::Conclusion;
use crate::machine::frame::{Attempt, Begun, Root, Stage};
use crate::machine::given::Given;
use crate::machine::holder::Holder;
use crate::machine::undo::Done;
use crate::machine::unwind::At;

/// Version of the encoding; readers refuse a newer one.
pub(super) const FORMAT: u8 = 1;

/// What a reader looks at first.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) format: u8,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) format: u8,
    pub(super) of: Seq,
    pub(super) last: Option<AppendId>,
    pub(super) flow: String,
    pub(super) version: String,
    pub(super) generation: u32,
    pub(super) epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<Holder>,
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub(super) take_overs: u32,
    pub(super) paused: bool,
    pub(super) deadline_us: u64,
    pub(super) now_us: u64,
    pub(super) expanded: usize,
    pub(super) accepted: Option<Box<Accepted>>,
    pub(super) phase: SavedPhase,
    pub(super) heard: Vec<AppendId>,
    pub(super) values: Vec<Arc<ValueRef>>,
    pub(super) maps: Vec<Vec<(Arc<str>, SavedGiven)>>,
    pub(super) graphs: Vec<SavedMade>,
    pub(super) frames: Vec<Option<SavedFrame>>,
    pub(super) free: Vec<usize>,
    pub(super) open: Vec<SavedSlot>,
    pub(super) fresh: Vec<StepPath>,
    pub(super) parked: Vec<StepPath>,
    pub(super) stopped: Vec<(StepPath, u32)>,
    pub(super) timers: Vec<(u64, StepPath)>,
    pub(super) signals: BTreeMap<String, Vec<u32>>,
    pub(super) waiting: BTreeMap<String, Vec<(StepPath, u32)>>,
    pub(super) variables: BTreeMap<String, ValueRef>,
    pub(super) undo: Vec<SavedUndo>,
    pub(super) trouble: Vec<Trouble>,
    pub(super) failures: BTreeMap<StepPath, Trouble>,
    pub(super) remade: BTreeMap<StepPath, (u32, Option<SavedState>)>,
    pub(super) handled: u32,
    #[serde(default)]
    pub(super) is_finished: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) resets: BTreeMap<StepPath, u32>,
}

/// A value: by its place in the tables.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedGiven {
    Empty,
    Value(u32),
    Item { manifest: u32, index: u32 },
    Map(u32),
}

/// A graph that was made at run time.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedMade {
    pub(super) step: StepPath,
    pub(super) text: String,
    pub(super) version: String,
    pub(super) depth: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedFrame {
    pub(super) owner: Option<SavedOwner>,
    pub(super) root: Root,
    pub(super) input: SavedGiven,
    pub(super) states: Vec<SavedState>,
    pub(super) attempts: Vec<u32>,
    pub(super) unresolved: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) outer_dead: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bodies: Vec<(usize, SavedBody)>,
    /// By node: the floor and the highest number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) numbers: Vec<(usize, u32, u32)>,
    /// Calls that must not be repeated, by node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) once: Vec<(usize, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedOwner {
    pub(super) frame: usize,
    pub(super) node: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) iteration: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedState {
    Waiting { unresolved: u32, live: bool },
    Open(SavedAttempt),
    Body,
    Done(SavedGiven),
    Took { cases: Vec<u32>, value: SavedGiven },
    Skipped,
    Failed,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedAttempt {
    stage: Stage,
    number: u32,
    begun: Begun,
    told: bool,
    #[serde(default, skip_serializing_if = "is_zero_u16")]
    failures: u16,
    #[serde(default, skip_serializing_if = "is_zero")]
    not_before_us: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    until_us: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    due_us: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedBody {
    Each {
        manifest: u32,
        results: Vec<Option<SavedGiven>>,
        errors: Vec<(u32, Trouble)>,
        next: u32,
        redo: Vec<u32>,
        /// Item and frame.
        running: Vec<(u32, usize)>,
    },
    Loop {
        state: Option<SavedGiven>,
        iteration: u32,
        frame: Option<usize>,
    },
    Expand {
        frame: Option<usize>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedSlot {
    /// A frame, and a node of it.
    Node(usize, usize),
    Undo(usize),
    Stray {
        step: StepPath,
        attempt: u32,
        called: bool,
        limit_us: u64,
        due_us: u64,
        undone: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedUndo {
    pub(super) step: StepPath,
    /// The version of the flow that it ran in.
    pub(super) version: String,
    /// The graph made at run time that it stood in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<u32>,
    pub(super) inputs: Vec<(Arc<str>, Option<SavedGiven>)>,
    pub(super) output: Option<SavedGiven>,
    pub(super) done: Done,
    pub(super) attempt: Option<SavedAttempt>,
    pub(super) number: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedPhase {
    New,
    Open,
    Unwinding {
        conclusion: SavedConclusion,
        until_us: u64,
        at: At,
    },
    Ending {
        conclusion: SavedConclusion,
        told: bool,
    },
    Ended {
        restartable: bool,
        owed: Vec<Delivery>,
    },
    Closing,
    Settled,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SavedConclusion {
    Succeeded(SavedGiven),
    Failed(Trouble),
    TimedOut,
    Cancelled,
}

impl From<&Attempt> for SavedAttempt {
    fn from(attempt: &Attempt) -> Self {
        let Attempt {
            stage,
            number,
            failures,
            not_before_us,
            begun,
            until_us,
            due_us,
            told,
        } = *attempt;
        Self {
            stage,
            number,
            begun,
            told,
            failures,
            not_before_us,
            until_us,
            due_us,
        }
    }
}

impl From<SavedAttempt> for Attempt {
    fn from(saved: SavedAttempt) -> Self {
        Self {
            failures: saved.failures,
            not_before_us: saved.not_before_us,
            begun: saved.begun,
            until_us: saved.until_us,
            due_us: saved.due_us,
            told: saved.told,
            ..Self::new(saved.stage, saved.number)
        }
    }
}

impl SavedConclusion {
    pub(super) fn from(conclusion: &Conclusion, given: impl FnOnce(&Given) -> SavedGiven) -> Self {
        match conclusion {
            Conclusion::Succeeded(output) => Self::Succeeded(given(output)),
            Conclusion::Failed(error) => Self::Failed(Trouble::clone(error)),
            Conclusion::TimedOut => Self::TimedOut,
            Conclusion::Cancelled => Self::Cancelled,
        }
    }
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

const fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

const fn is_zero_u16(number: &u16) -> bool {
    *number == 0
}
