//! What the platform tells closures of what happened: failures, ends of requests, and what a
//! compensation has to undo. The same shapes reach functions and jq as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::closure::Cause;
use crate::ids::{FlowName, RequestId, StepPath};

/// What failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// The step; `None` where no step failed, but the request took too long or was cancelled.
    pub step: Option<StepPath>,
    /// What happened, as text for a person.
    pub message: String,
    /// Whether trying again may help; `None` where no step failed.
    pub cause: Option<Cause>,
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has its output.
    Succeeded,
    /// A step was out of attempts.
    Failed,
    /// It took longer than the flow's timeout.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
}

/// The input of `on_failure` and `finally`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The request; written as text in every format.
    #[serde(with = "text")]
    pub request: RequestId,
    /// Its flow.
    pub flow: FlowName,
    /// How it ends.
    pub status: Status,
    /// What failed; `None` after a success.
    pub error: Option<StepFailure>,
}

/// An item of a `for_each` that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    /// Where the item stands, from 0; in a map, in the order of the map.
    pub index: usize,
    /// The step that failed.
    pub step: StepPath,
    /// What happened, as text for a person.
    pub message: String,
    /// Whether trying again might have helped.
    pub cause: Cause,
}

/// What a `for_each` over a list gives that collects its errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected<O> {
    /// The results in the items' order, `None` for each item that failed.
    pub results: Vec<Option<O>>,
    /// The items that failed.
    pub errors: Vec<ItemError>,
}

/// What a `for_each` over a map gives that collects its errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedMap<O> {
    /// The results under the items' keys, `None` for each item that failed.
    pub results: BTreeMap<String, Option<O>>,
    /// The items that failed.
    pub errors: Vec<ItemError>,
}

/// What a compensation undoes: what the step was given, and what it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compensation<I, O> {
    /// The step's input, as its own closure takes it.
    pub input: I,
    /// What the step gave; `None` where that is not known.
    pub output: Option<O>,
}

/// An id as the text that people know it by.
mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::ids::RequestId;

    pub(super) fn serialize<S: Serializer>(id: &RequestId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RequestId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
