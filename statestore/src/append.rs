//! An append: one message with a list of events, in an envelope that can be read without any flow.

use std::fmt;

use serde::{Deserialize, Serialize};
use turlough_sdk::{FunctionName, ReplicaId, RequestId};

use crate::event::Event;

/// Largest append, encoded: what NATS servers take by default, with room for headers.
pub const APPEND_BYTES_MAX: usize = 512 * 1024;

/// Version of the encoding; readers refuse a newer one.
const FORMAT: u8 = 1;

/// Position of an append in its request's log. Only order counts; numbers have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub(crate) u64);

impl Seq {
    /// Before the first append of a log.
    pub const START: Self = Self(0);
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Seq {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Random name of an append: whoever gets no answer looks for it in what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendId(pub u128);

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The holder of the newest claim; counts only at its epoch and after the last that counted.
    Driver,
    /// A signal, a callback, a control; counts on any open log.
    External,
}

/// What can be read of an append without its flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Name of this append.
    pub id: AppendId,
    /// Name of the last append that counted, as its writer saw it; none on an empty log.
    pub after: Option<AppendId>,
    /// Who appends.
    pub kind: Kind,
    /// The claim under which it is written; 0 before the first.
    pub epoch: u64,
    /// The replica that writes.
    pub replica: ReplicaId,
    /// The function that serves the flow.
    pub function: FunctionName,
    /// How often the request was restarted.
    pub generation: u32,
    /// When the request must have ended, Unix time in µs.
    pub deadline_us: Option<u64>,
    /// When a released request wants a driver again, Unix time in µs.
    pub wake_at_us: Option<u64>,
}

/// Events that were decided together, and are stored together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Version of the encoding.
    format: u8,
    /// The envelope.
    pub envelope: Envelope,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// What every version of an append begins with.
#[derive(Deserialize)]
struct Header {
    format: u8,
}

/// An append at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub seq: Seq,
    /// What was appended.
    pub append: Append,
}

/// Why an append was not stored, or a log not read.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log does not end where the append expects it to. Read on before anything else.
    #[error(
        "append to the log of request {request} expects to follow {expected}, but it ends at {last}"
    )]
    Conflict {
        /// The request.
        request: RequestId,
        /// What the append named.
        expected: Seq,
        /// Where the log ends.
        last: Seq,
    },
    /// It does not fit; split it, or put its values into the store.
    #[error(
        "append of {size} bytes to the log of request {request}, limit {APPEND_BYTES_MAX}; split it"
    )]
    TooLarge {
        /// The request.
        request: RequestId,
        /// Its encoded size in bytes.
        size: usize,
    },
    /// What is stored cannot be read by this version.
    #[error("log of request {request} cannot be read at {seq}: {reason}")]
    Unreadable {
        /// The request.
        request: RequestId,
        /// Where.
        seq: Seq,
        /// Why.
        reason: String,
    },
}

impl Append {
    /// Joins an envelope and its events.
    #[must_use]
    pub const fn new(envelope: Envelope, events: Vec<Event>) -> Self {
        Self {
            format: FORMAT,
            envelope,
            events,
        }
    }

    /// The append as it is stored: MessagePack, structs as maps.
    ///
    /// # Errors
    /// What does not fit.
    pub fn encode(&self, request: RequestId) -> Result<Vec<u8>, AppendError> {
        let encoded = rmp_serde::to_vec_named(self).map_err(|error| {
            let reason = error.to_string();
            AppendError::Unreadable {
                request,
                seq: Seq::START,
                reason,
            }
        })?;
        let size = encoded.len();
        if size > APPEND_BYTES_MAX {
            return Err(AppendError::TooLarge { request, size });
        }
        Ok(encoded)
    }

    /// Reads a stored append.
    ///
    /// # Errors
    /// Bytes that are no append, or of a newer version.
    pub fn decode(request: RequestId, seq: Seq, bytes: &[u8]) -> Result<Self, AppendError> {
        let unreadable = |reason| AppendError::Unreadable {
            request,
            seq,
            reason,
        };
        let newer = |found| format!("format {found}, this version reads up to {FORMAT}");
        match rmp_serde::from_slice::<Self>(bytes) {
            Ok(append) if append.format > FORMAT => Err(unreadable(newer(append.format))),
            Ok(append) => Ok(append),
            // What is newer may look like no append at all.
            Err(error) => Err(unreadable(match rmp_serde::from_slice::<Header>(bytes) {
                Ok(header) if header.format > FORMAT => newer(header.format),
                _ => error.to_string(),
            })),
        }
    }
}
