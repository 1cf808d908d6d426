//! The events of a request. Begin and end are in µs, Unix time: enough for spans, usage and pictures
//! to be projections of the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use turlough_sdk::{Cause, FlowName, ReplicaId, StepPath, TenantId, ValueRef};

/// Something that happened to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A piece of a value that the event after it names; ignored where none does.
    Part {
        /// The value that it belongs to.
        upload: u128,
        /// Its place in it, from 0.
        index: u32,
        /// The bytes.
        bytes: serde_bytes::ByteBuf,
    },
    /// The request exists.
    Accepted {
        /// The flow.
        flow: FlowName,
        /// Its version: the request keeps it.
        version: String,
        /// Who pays.
        tenant: TenantId,
        /// What the caller sent.
        input: ValueRef,
        /// When.
        at_us: u64,
    },
    /// A replica drives it from now on; only events of the newest epoch count.
    Claimed {
        /// Who.
        replica: ReplicaId,
        /// The claim's number.
        epoch: u64,
        /// When.
        at_us: u64,
    },
    /// An attempt of a step ended.
    StepEnded(StepEnded),
    /// Somebody asked to cancel it.
    CancelAsked {
        /// When.
        at_us: u64,
    },
    /// Its time is over.
    DeadlinePassed {
        /// When.
        at_us: u64,
    },
    /// It has a result.
    Ended {
        /// The result.
        outcome: Outcome,
        /// When.
        at_us: u64,
    },
    /// From here on it cannot be restarted, and its data may go.
    Closing {
        /// When.
        at_us: u64,
    },
    /// Nothing is owed and nothing is held.
    Settled {
        /// When.
        at_us: u64,
    },
}

/// The completion event. It counts once, by generation, step, attempt and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnded {
    /// The step.
    pub step: StepPath,
    /// How often the request was restarted.
    pub generation: u32,
    /// Which try, from 1.
    pub attempt: u32,
    /// Under which claim.
    pub epoch: u64,
    /// Where.
    pub replica: ReplicaId,
    /// When it began.
    pub begin_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// How.
    pub end: StepEnd,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// With a value.
    Succeeded {
        /// Where it lies.
        value: ValueRef,
    },
    /// A switch took a case, or none; its value is its input.
    Took {
        /// Index of the case.
        case: Option<u32>,
    },
    /// A `for_each` listed its items; its own end comes when theirs have.
    Split {
        /// How many.
        items: u32,
        /// A MessagePack list of the items' references.
        manifest: ValueRef,
    },
    /// With an error.
    Failed {
        /// What was attempted, on what, and what was found.
        message: String,
        /// Whether trying again may help.
        cause: Cause,
    },
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The flow's output.
    Succeeded {
        /// Where it lies: in the log; none where it was too large to keep.
        output: Option<ValueRef>,
        /// Size of its envelope in bytes.
        size: u64,
    },
    /// A step was out of attempts.
    Failed {
        /// The step.
        step: StepPath,
        /// Its last error.
        message: String,
        /// Its cause.
        cause: Cause,
    },
    /// It took longer than the flow's timeout.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
}

impl Outcome {
    /// The status that it gives the request, as the API and the metrics name it.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Event {
    /// A piece of a value.
    #[must_use]
    pub fn part(upload: u128, index: u32, bytes: &Bytes) -> Self {
        Self::Part {
            upload,
            index,
            bytes: serde_bytes::ByteBuf::from(bytes.to_vec()),
        }
    }
}
