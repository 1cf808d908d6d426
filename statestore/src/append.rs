//! An append: one message with a list of events, in an envelope that can be read without any flow.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing::warn;
use turlough_sdk::{FunctionName, ReplicaId, RequestId};
use uuid::Uuid;

use crate::error::StateError;
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

    /// The number, for whoever keeps a place outside.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A place that was kept outside.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
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
    /// How the request stands once this counts, as its driver sees it.
    #[serde(default, skip_serializing_if = "Standing::is_running")]
    pub standing: Standing,
}

/// How a request stands that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Steps run, or may.
    #[default]
    Running,
    /// It waits for a time or for somebody, and nobody drives it.
    Sleeping,
    /// Somebody asked that no further step starts.
    Paused,
    /// How it ends is decided; what must be awaited or undone first is under way.
    Unwinding,
}

impl Standing {
    /// The status that it gives the request, as the API names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Paused => "paused",
            Self::Unwinding => "unwinding",
        }
    }

    /// Whether steps run, or may.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
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

/// What every append of this version holds, whatever its events are.
#[derive(Deserialize)]
struct Cover {
    #[serde(rename = "envelope")]
    _envelope: Envelope,
}

/// Why bytes are not read as an append.
#[derive(Debug)]
enum Wrong {
    /// Ours, of a version that knows more, or damaged: nobody may go on as if it were not there.
    Unknown(String),
    /// None of ours, so that nothing was ever built on it.
    Foreign(String),
}

/// An append at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub seq: Seq,
    /// What was appended.
    pub append: Append,
}

impl Record {
    /// Reads a stored append at its place. What is no append of ours counts for nothing; its place is
    /// the log's end all the same, so that it is kept, as a blank one.
    pub(crate) fn decode(request: RequestId, seq: Seq, bytes: &[u8]) -> Result<Self, StateError> {
        let unreadable = |reason| StateError::Unreadable {
            request,
            seq,
            reason,
        };
        let append = match Append::read(bytes) {
            Ok(append) => append,
            Err(Wrong::Unknown(reason)) => return Err(unreadable(reason)),
            Err(Wrong::Foreign(reason)) => {
                warn!(%request, %seq, reason, "what stands in a log is no append, and counts for nothing");
                Append::blank().ok_or_else(|| unreadable(reason))?
            }
        };
        Ok(Self { seq, append })
    }
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
    pub fn encode(&self, request: RequestId) -> Result<Vec<u8>, StateError> {
        let encoded = rmp_serde::to_vec_named(self).map_err(|error| {
            let reason = error.to_string();
            StateError::Unreadable {
                request,
                seq: Seq::START,
                reason,
            }
        })?;
        let size = encoded.len();
        if size > APPEND_BYTES_MAX {
            return Err(StateError::TooLarge { request, size });
        }
        Ok(encoded)
    }

    /// An append that counts for nothing, whatever log it stands in.
    pub(crate) fn blank() -> Option<Self> {
        let envelope = Envelope {
            id: AppendId(0),
            after: None,
            kind: Kind::External,
            epoch: 0,
            replica: ReplicaId::from_uuid(Uuid::nil()),
            function: "none".parse().ok()?,
            generation: 0,
            deadline_us: None,
            wake_at_us: None,
            standing: Standing::Running,
        };
        Some(Self::new(envelope, Vec::new()))
    }

    /// Whether it counts for nothing: it stands for what is no append of ours.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.envelope.id.0 == 0 && self.events.is_empty()
    }

    /// Reads a stored append.
    ///
    /// # Errors
    /// Bytes that are no append, or of a newer version.
    pub fn decode(request: RequestId, seq: Seq, bytes: &[u8]) -> Result<Self, StateError> {
        Self::read(bytes).map_err(|wrong| {
            let (Wrong::Unknown(reason) | Wrong::Foreign(reason)) = wrong;
            StateError::Unreadable {
                request,
                seq,
                reason,
            }
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        let newer = |found| {
            let text =
                format!("format {found}, this version reads up to {FORMAT}; use a newer one");
            Wrong::Unknown(text)
        };
        let error = match rmp_serde::from_slice::<Self>(bytes) {
            Ok(append) if append.format > FORMAT => return Err(newer(append.format)),
            Ok(append) => return Ok(append),
            Err(error) => error,
        };
        // What is newer may look like no append at all.
        match rmp_serde::from_slice::<Header>(bytes) {
            Ok(header) if header.format > FORMAT => return Err(newer(header.format)),
            _ => {}
        }
        let text = error.to_string();
        Err(match rmp_serde::from_slice::<Cover>(bytes) {
            Ok(_) => Wrong::Unknown(format!("{text}; use a newer version")),
            Err(_) => Wrong::Foreign(format!("it is no append: {text}; see who writes there")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u128) -> RequestId {
        RequestId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn append(id: u128) -> Append {
        let envelope = Envelope {
            id: AppendId(id),
            after: None,
            kind: Kind::External,
            epoch: 0,
            replica: ReplicaId::from_uuid(uuid::Uuid::from_u128(1)),
            function: "flows".parse().unwrap(),
            generation: 0,
            deadline_us: None,
            wake_at_us: Some(5),
            standing: Standing::Running,
        };
        Append::new(envelope, vec![Event::CancelAsked { at_us: 7 }])
    }

    #[test]
    fn what_is_no_append_counts_for_nothing_and_what_is_damaged_is_refused() {
        let of = |bytes: &[u8]| Record::decode(request(1), Seq(7), bytes);
        for foreign in [&b""[..], b"garbage", b"\x93\x01\x02\x03", b"\x81\xa1a\x01"] {
            let record = of(foreign).unwrap();
            assert!(record.append.is_blank() && record.seq == Seq(7));
            let error = Append::decode(request(1), Seq(7), foreign).unwrap_err();
            assert!(error.to_string().contains("it is no append"), "{error}");
        }
        let whole = append(1).encode(request(1)).unwrap();
        assert!(!of(&whole).unwrap().append.is_blank());
        let at = whole
            .windows(6)
            .position(|window| window == b"cancel")
            .unwrap();
        let mut unknown = whole;
        unknown[at] = b'x';
        let error = of(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("at 7") && error.contains("use a newer version"),
            "{error}"
        );
    }

    #[test]
    fn a_log_of_a_newer_version_is_refused_by_name() {
        let mut bytes = append(1).encode(request(1)).unwrap();
        let at = bytes
            .windows(6)
            .position(|window| window == b"format")
            .unwrap();
        bytes[at + 6] = 9;
        let error = Append::decode(request(1), Seq(1), &bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("format 9, this version reads up to 1"),
            "{error}"
        );
    }
}
