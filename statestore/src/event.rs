//! The events of a request. Begin and end are in µs, Unix time: enough for spans, usage and pictures
//! to be projections of the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use turlough_sdk::{Cause, FlowName, ReplicaId, RequestId, StepPath, TenantId, ValueRef};

use crate::append::{AppendId, Seq};

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
    Accepted(Accepted),
    /// A replica drives it from now on; only events of the newest epoch count.
    Claimed {
        /// Who.
        replica: ReplicaId,
        /// The claim's number.
        epoch: u64,
        /// When.
        at_us: u64,
    },
    /// Nobody drives it from now on, until it is due or somebody appends.
    Released {
        /// When.
        at_us: u64,
    },
    /// An attempt begins that must not be repeated, must be undone, or is completed by somebody else.
    StepStarted {
        /// The step.
        step: StepPath,
        /// Which attempt.
        attempt: u32,
        /// When.
        at_us: u64,
    },
    /// Somebody else took the attempt on, and will complete it.
    StepCalled {
        /// The step.
        step: StepPath,
        /// Which attempt.
        attempt: u32,
        /// When.
        at_us: u64,
    },
    /// An attempt of a step ended.
    StepEnded(StepEnded),
    /// The clock came to a time that something waits for.
    Ticked {
        /// The time.
        at_us: u64,
    },
    /// A value that the flow's output is made of is gone: what made it makes it again.
    OutputLost {
        /// Where it lay.
        value: ValueRef,
        /// When.
        at_us: u64,
    },
    /// The flow's output cannot be put together: the request fails, and what it did is undone.
    OutputFailed {
        /// Why.
        message: String,
        /// How it failed.
        cause: Cause,
        /// When.
        at_us: u64,
    },
    /// Somebody sent a signal.
    Signalled {
        /// Its name.
        name: String,
        /// Its payload.
        value: ValueRef,
        /// When.
        at_us: u64,
    },
    /// Somebody asked that no further step starts.
    PauseAsked {
        /// When.
        at_us: u64,
    },
    /// Somebody asked that it goes on.
    ResumeAsked {
        /// When.
        at_us: u64,
    },
    /// Somebody asked to cancel it.
    CancelAsked {
        /// When.
        at_us: u64,
    },
    /// Somebody asked to run it again from where it failed.
    RestartAsked {
        /// From this step; otherwise from what failed.
        from: Option<StepPath>,
        /// On this version; otherwise on the one that it has.
        version: Option<String>,
        /// When it must have ended.
        deadline_us: u64,
        /// When.
        at_us: u64,
    },
    /// It has a result.
    Ended {
        /// The result.
        outcome: Outcome,
        /// What went wrong while it was unwound.
        trouble: Vec<Trouble>,
        /// Who is owed word of it.
        owed: Vec<Delivery>,
        /// When.
        at_us: u64,
    },
    /// Word was sent of its end, or given up.
    Delivered {
        /// Which.
        id: u128,
        /// Why it was given up; none where it was taken.
        error: Option<String>,
        /// When.
        at_us: u64,
    },
    /// What all events up to a place come to: a log whose head is gone is read from here on.
    Snapshot(Snapshot),
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

/// How a request begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The flow.
    pub flow: FlowName,
    /// Its version: the request keeps it.
    pub version: String,
    /// Who pays.
    pub tenant: TenantId,
    /// What the caller sent.
    pub input: ValueRef,
    /// The query of the call, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Headers of the call that the flow asks for, in lower case.
    pub headers: Vec<(String, String)>,
    /// The step whose sub-flow it is.
    pub parent: Option<Parent>,
    /// Who wants word of its end.
    pub callbacks: Vec<Callback>,
    /// The id of the call that began it, as the gateway gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The delivery of a queue of calls that began it: what comes again under it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<u128>,
    /// The span that began it: the caller's, or for a sub-flow that of its parent's attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// When it must have ended.
    pub deadline_us: u64,
    /// When.
    pub at_us: u64,
}

/// A span of somebody's trace, as W3C's `traceparent` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// Whether the trace is told.
    pub is_sampled: bool,
}

/// The step that a request completes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its request.
    pub request: RequestId,
    /// Its generation.
    pub generation: u32,
    /// The step.
    pub step: StepPath,
    /// The attempt.
    pub attempt: u32,
    /// How many flows stand above the child.
    pub depth: u32,
}

/// An address that wants word of a request's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// The URL.
    pub url: String,
    /// Whether it wants word of failures alone.
    pub failures_only: bool,
    /// Whether it is OpenFaaS's own, told as a gateway tells it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_openfaas: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(it: &bool) -> bool {
    !*it
}

/// Word of a request's end that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Names it; the same in every try.
    pub id: u128,
    /// To whom.
    pub to: Recipient,
}

/// Who is owed word of a request's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// A callback.
    Url(String),
    /// OpenFaaS's callback.
    #[serde(rename = "openfaas_url")]
    OpenFaasUrl(String),
    /// The step whose sub-flow it is.
    Parent(Parent),
}

/// Something that went wrong while a request was unwound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The step.
    pub step: StepPath,
    /// Its last error.
    pub message: String,
    /// Its cause.
    pub cause: Cause,
}

/// The state of a request at a place of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The state, as the machine encodes it.
    pub state: ValueRef,
    /// The place: every event after it is applied to the state.
    pub of: Seq,
    /// The last append up to there that counted.
    pub last: AppendId,
    /// Values in parts that were written again, since the head that holds them goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Moved>,
    /// Stores that hold something of the request, as what goes named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    /// When.
    pub at_us: u64,
}

/// A value that lies in other parts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The parts that go.
    pub from: u128,
    /// The parts that stay.
    pub to: u128,
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
    /// Variables of the request that it sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, ValueRef)>,
    /// Before when whoever was called does not want to be called again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_us: Option<u64>,
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
    /// A switch took these cases, by index; its value is its input.
    Took {
        /// Indexes of the cases, in order.
        cases: Vec<u32>,
        /// Its input, where formulas made it.
        input: Option<ValueRef>,
    },
    /// Its `when` holds: its operation is next.
    Went,
    /// Its `when` does not hold.
    Skipped,
    /// A `for_each` listed its items; its own end comes when theirs have.
    Split {
        /// How many.
        items: u32,
        /// The items' references, and their keys where they came in a map.
        manifest: ValueRef,
    },
    /// A loop asked its condition.
    Asked {
        /// Whether it goes on.
        again: bool,
        /// The first state, where formulas made it.
        input: Option<ValueRef>,
    },
    /// A graph was made for the request.
    Expanded {
        /// The graph, in the notation of YAML.
        graph: String,
        /// Its input, where formulas made it.
        input: Option<ValueRef>,
    },
    /// A `wait` knows until when.
    Waits {
        /// Until when.
        until_us: u64,
    },
    /// A value that it needs is gone.
    Lost {
        /// Where it lay.
        value: ValueRef,
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
    /// It cannot be driven: it took its replicas down with it, or its log is not whole.
    Dead {
        /// What was found.
        message: String,
    },
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
            Self::Dead { .. } => "dead",
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
