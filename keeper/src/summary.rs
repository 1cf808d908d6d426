//! A request as lists show it.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use turlough_sdk::{FlowName, FunctionName, ReplicaId, RequestId};
use turlough_statestore::Standing;
use turlough_statestore::event::{Accepted, Outcome};

/// Longest error that the index keeps of a request, in characters: lists show it, the log has it all.
const ERROR_CHARS_MAX: usize = 1_000;

/// What a list says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The function that serves its flow, where that is told.
    pub function: Option<FunctionName>,
    /// Its flow; `unknown` where the head of its log is gone.
    pub flow: FlowName,
    /// The version that it runs on now; empty where the head of its log is gone.
    pub version: String,
    /// When it was accepted, Unix time in µs.
    pub accepted_us: u64,
    /// When it must have ended, Unix time in µs.
    pub deadline_us: Option<u64>,
    /// When it wants a driver again, Unix time in µs.
    pub wake_at_us: Option<u64>,
    /// How it stands, while it has not ended.
    pub standing: Standing,
    /// How often it was restarted.
    pub generation: u32,
    /// The request whose step it is.
    pub parent: Option<RequestId>,
    /// The id of the call that began it.
    pub call_id: Option<String>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Until when it can be restarted, Unix time in µs.
    pub kept_until_us: Option<u64>,
    /// Who holds it.
    pub claimant: Option<Claimant>,
    /// Whether its log is gone though it was open.
    pub is_lost: bool,
    /// Whether somebody asked to delete it.
    pub is_doomed: bool,
    /// About how many bytes its log takes.
    pub log_bytes: u64,
    /// The place of its last append.
    pub last_seq: u64,
}

/// Who holds a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// The replica.
    pub replica: ReplicaId,
    /// The claim's number.
    pub epoch: u64,
    /// When it was claimed, Unix time in µs.
    pub at_us: u64,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// As what.
    pub status: Status,
    /// When, Unix time in µs.
    pub at_us: u64,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether nothing is owed and nothing is held any more.
    pub settled: bool,
}

/// What a request's status may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// Steps run, or may.
    Running,
    /// It waits, and nobody drives it.
    Sleeping,
    /// Somebody asked that no further step starts.
    Paused,
    /// How it ends is decided, and being brought about.
    Unwinding,
    /// It has an output.
    Succeeded,
    /// A step was out of attempts.
    Failed,
    /// It took longer than it may.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// It cannot be driven.
    Dead,
    /// It was open, and its log is gone.
    Lost,
}

/// Every status.
pub const STATUSES: [Status; 10] = [
    Status::Running,
    Status::Sleeping,
    Status::Paused,
    Status::Unwinding,
    Status::Succeeded,
    Status::Failed,
    Status::TimedOut,
    Status::Cancelled,
    Status::Dead,
    Status::Lost,
];

/// Which requests a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of a function.
    pub function: Option<String>,
    /// Those of a flow.
    pub flow: Option<String>,
    /// Those that stand so.
    pub status: Option<Status>,
    /// The sub-flows of a request.
    pub parent: Option<RequestId>,
    /// Those that one call began.
    pub call_id: Option<String>,
    /// Those that were accepted before this one.
    pub before: Option<RequestId>,
    /// How many at most.
    pub limit: usize,
}

impl Status {
    /// As the API names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => Standing::Running.name(),
            Self::Sleeping => Standing::Sleeping.name(),
            Self::Paused => Standing::Paused.name(),
            Self::Unwinding => Standing::Unwinding.name(),
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Lost => "lost",
        }
    }

    /// The status of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        STATUSES.into_iter().find(|status| status.name() == name)
    }
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Running => Self::Running,
            Standing::Sleeping => Self::Sleeping,
            Standing::Paused => Self::Paused,
            Standing::Unwinding => Self::Unwinding,
        }
    }
}

impl Ended {
    /// Of an outcome, before it is settled.
    #[must_use]
    pub fn new(outcome: &Outcome, at_us: u64) -> Self {
        let (status, error) = match outcome {
            Outcome::Succeeded { .. } => (Status::Succeeded, None),
            Outcome::Cancelled => (Status::Cancelled, None),
            Outcome::Failed { step, message, .. } => {
                (Status::Failed, Some(format!("step {step}: {message}")))
            }
            Outcome::TimedOut => {
                let text = "took longer than the flow's timeout";
                (Status::TimedOut, Some(text.to_owned()))
            }
            Outcome::Dead { message } => (Status::Dead, Some(message.clone())),
        };
        Self {
            status,
            at_us,
            error: error.map(|error| error.chars().take(ERROR_CHARS_MAX).collect()),
            settled: false,
        }
    }
}

impl Summary {
    /// A request that was accepted, and nothing more.
    #[must_use]
    pub fn accepted(accepted: &Accepted) -> Self {
        Self {
            function: None,
            flow: accepted.flow.clone(),
            version: accepted.version.clone(),
            accepted_us: accepted.at_us,
            deadline_us: Some(accepted.deadline_us),
            wake_at_us: None,
            standing: Standing::Running,
            generation: 0,
            parent: accepted.parent.as_ref().map(|parent| parent.request),
            call_id: accepted.call_id.clone(),
            ended: None,
            kept_until_us: None,
            claimant: None,
            is_lost: false,
            is_doomed: false,
            log_bytes: 0,
            last_seq: 0,
        }
    }

    /// How it stands, ended or not.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.ended {
            _ if self.is_lost => Status::Lost,
            Some(ended) => ended.status,
            None => self.standing.into(),
        }
    }

    /// Whether anything is still to be done for it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.is_lost && !self.ended.as_ref().is_some_and(|ended| ended.settled)
    }
}

impl Filter {
    /// Whether it asks for some of what each request is counted by.
    pub(crate) const fn has_class(&self) -> bool {
        self.function.is_some() || self.flow.is_some() || self.status.is_some()
    }
}

/// A request in a list of the API.
#[must_use]
pub fn summary_json(request: RequestId, summary: &Summary) -> Json {
    let mut view = json!({
        "id": request.to_string(),
        "flow": summary.flow.as_str(),
        "version": summary.version,
        "status": summary.status().name(),
        "generation": summary.generation,
        "accepted_at": time(summary.accepted_us),
    });
    if let Some(parent) = summary.parent {
        view["parent"] = parent.to_string().into();
    }
    if let Some(call_id) = &summary.call_id {
        view["call_id"] = call_id.as_str().into();
    }
    if let Some(ended) = &summary.ended {
        view["ended_at"] = time(ended.at_us).into();
        let took_us = ended.at_us.saturating_sub(summary.accepted_us);
        view["duration_ms"] = json!(took_us as f64 / 1e3);
        view["settled"] = ended.settled.into();
        if let Some(error) = &ended.error {
            view["error"] = error.as_str().into();
        }
        if let Some(until_us) = summary.kept_until_us {
            view["restartable_until"] = time(until_us).into();
        }
    }
    view
}

/// A request by itself: what a list says of it, and how it is driven.
pub(crate) fn row_json(request: RequestId, summary: &Summary) -> Json {
    let mut view = summary_json(request, summary);
    if let Some(function) = &summary.function {
        view["function"] = function.as_str().into();
    }
    view["log_bytes"] = summary.log_bytes.into();
    view["last_append"] = summary.last_seq.into();
    if summary.ended.is_none() {
        if let Some(at_us) = summary.deadline_us {
            view["deadline"] = time(at_us).into();
        }
        if let Some(at_us) = summary.wake_at_us {
            view["wakes_at"] = time(at_us).into();
        }
    }
    if let Some(claimant) = &summary.claimant {
        view["claimant"] = json!({
            "replica": claimant.replica.to_string(),
            "epoch": claimant.epoch,
            "since": time(claimant.at_us),
        });
    }
    if summary.is_doomed {
        view["deleting"] = true.into();
    }
    view
}

/// RFC 3339 in UTC, to the microsecond.
fn time(at_us: u64) -> String {
    let at = i64::try_from(at_us).ok();
    at.and_then(|at| jiff::Timestamp::from_microsecond(at).ok())
        .map_or_else(String::new, |at| at.to_string())
}
