//! What processes tell one another about requests: hints in the work queue, words on the bus, and
//! heartbeats. All of it may be lost or come twice; the log decides.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use turlough_sdk::{FlowName, FunctionName, ReplicaId, RequestId};

use crate::append::AppendId;

/// An item of the queue that is named for a function: somebody should look at a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The request.
    pub request: RequestId,
    /// What for.
    pub why: Why,
    /// The claim whose holder is dead, by its append: while it is the newest, it may be taken over.
    #[serde(default)]
    pub condemned: Option<AppendId>,
}

/// Why somebody should look at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was accepted, and nobody claimed it.
    Accepted,
    /// Its time has come.
    Due,
    /// Somebody appended to it while nobody drove it.
    Appended,
    /// It was handed over by whoever drove it.
    HandedOver,
    /// Whoever claimed it is gone.
    ClaimantGone,
    /// Its log grows old, and a snapshot is due.
    Snapshot,
    /// It has ended, and need not be kept for a restart any longer.
    LetGo,
}

/// A word on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// To a replica: somebody appended to a request that it holds.
    Poke {
        /// The request.
        request: RequestId,
    },
    /// To a replica: a request must go on, whether there is room or not, since it must end.
    Urge {
        /// The request.
        request: RequestId,
    },
    /// To a replica: which of these does it drive?
    Ask {
        /// Names the question.
        question: u64,
        /// Who listens for the answer.
        asker: ReplicaId,
        /// The requests, [`ASKED_MAX`] at most.
        requests: Vec<RequestId>,
    },
    /// To whoever asked.
    Answer {
        /// The question.
        question: u64,
        /// Who answers.
        replica: ReplicaId,
        /// Those of the requests that it drives, or is about to.
        driven: Vec<RequestId>,
    },
    /// To a replica: a flow was put at run time.
    Put {
        /// The flow.
        flow: FlowName,
    },
    /// On the channel of a request: it has ended.
    Ended {
        /// The request.
        request: RequestId,
    },
}

/// Requests that one [`Word::Ask`] names at most: 16 KiB.
pub const ASKED_MAX: usize = 1_000;

/// A heartbeat: the value of a replica's id in the table of replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The function that it is a replica of.
    pub function: FunctionName,
    /// When it was written, Unix time in µs.
    pub at_us: u64,
    /// Whether it takes requests: not one that drains.
    pub takes: bool,
}

macro_rules! encoded {
    ($($name:ident),*) => {
        $(impl $name {
            /// As it is sent: MessagePack.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                encode(self)
            }

            /// Reads what was sent; none where it is something else, or of a version that is unknown
            /// here. Nothing hangs on it.
            #[must_use]
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                decode(bytes)
            }
        })*
    };
}
encoded!(Hint, Word, Beat);

fn encode(what: &impl Serialize) -> Bytes {
    // Maps, numbers, names and bytes: there is nothing in them that could fail.
    rmp_serde::to_vec_named(what).unwrap_or_default().into()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let request = RequestId::from_uuid(Uuid::from_u128(1));
        let replica = ReplicaId::from_uuid(Uuid::from_u128(2));
        let hint = Hint {
            request,
            why: Why::ClaimantGone,
            condemned: Some(AppendId(3)),
        };
        assert_eq!(Hint::decode(&hint.encode()), Some(hint.clone()));
        let words = [
            Word::Poke { request },
            Word::Urge { request },
            Word::Ask {
                question: 4,
                asker: replica,
                requests: vec![request],
            },
            Word::Answer {
                question: 4,
                replica,
                driven: vec![request],
            },
            Word::Ended { request },
        ];
        for word in words {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        let beat = Beat {
            function: "flows".parse().unwrap(),
            at_us: 5,
            takes: true,
        };
        assert_eq!(Beat::decode(&beat.encode()), Some(beat));
        assert_eq!(Word::decode(&hint.encode()), None);
        assert_eq!(Hint::decode(b"poke"), None);
        assert_eq!(Beat::decode(b""), None);
    }
}
