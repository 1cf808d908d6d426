//! Names of streams, subjects and consumers.
//!
//! Invariant: two tenants, two requests or two queues never share a name. The tenant stands in every
//! subject too, so that tenants may share an account where no wall between them is wanted.

use turlough_sdk::{RequestId, TenantId};

use crate::bus::Channel;

/// Stands for the `.` of a function's namespace: a `.` would part a subject and is not allowed in the
/// name of a consumer, and `=` is in no function's name.
const DOT: &str = "=";

/// The names of one tenant. A tenant is a lower-case DNS label, which a stream's name may hold as it
/// is, and which holds no `_`.
#[derive(Debug, Clone)]
pub(super) struct Names {
    tenant: TenantId,
}

/// A key-value bucket, laid out as every NATS client expects it.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) stream: String,
    /// What its subjects begin with; the key follows.
    pub(super) prefix: String,
}

impl Names {
    pub(super) fn of(tenant: &TenantId) -> Self {
        Self {
            tenant: tenant.clone(),
        }
    }

    pub(super) fn log_stream(&self) -> String {
        format!("TL_{}_LOG", self.tenant)
    }

    pub(super) fn work_stream(&self) -> String {
        format!("TL_{}_WORK", self.tenant)
    }

    pub(super) fn flows(&self) -> Bucket {
        Bucket::of(&format!("TL_{}_FLOWS", self.tenant))
    }

    pub(super) fn replicas(&self) -> Bucket {
        Bucket::of(&format!("TL_{}_REPLICAS", self.tenant))
    }

    /// What the subjects of logs begin with; the request follows.
    pub(super) fn log_prefix(&self) -> String {
        format!("tl.{}.log.", self.tenant)
    }

    /// What the subjects of queues begin with; what [`consumer`] makes of the queue follows.
    pub(super) fn work_prefix(&self) -> String {
        format!("tl.{}.work.", self.tenant)
    }

    pub(super) fn channel(&self, channel: Channel) -> String {
        match channel {
            Channel::Replica(replica) => format!("tl.{}.replica.{replica}", self.tenant),
            Channel::Done(request) => format!("tl.{}.done.{request}", self.tenant),
        }
    }
}

impl Bucket {
    fn of(name: &str) -> Self {
        Self {
            stream: format!("KV_{name}"),
            prefix: format!("$KV.{name}."),
        }
    }
}

/// The request whose log a subject is.
pub(super) fn request_of(subject: &str, prefix: &str) -> Option<RequestId> {
    let text = subject.strip_prefix(prefix)?;
    let request: RequestId = text.parse().ok()?;
    // One request, one subject: other spellings of a UUID are not ours.
    (request.to_string() == text).then_some(request)
}

/// What a queue's consumer, and the end of its subject, are called; none for what no queue is called.
pub(super) fn consumer(queue: &str) -> Option<String> {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!queue.is_empty() && queue.bytes().all(is_legal)).then(|| queue.replace('.', DOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_names_of_their_own_or_none() {
        assert_eq!(consumer("flows").unwrap(), "flows");
        assert_eq!(consumer("flows.acme").unwrap(), "flows=acme");
        for illegal in ["", "a b", "a*", ">", "a=b", "a/b", "ä"] {
            assert_eq!(consumer(illegal), None, "{illegal}");
        }
    }

    #[test]
    fn a_subject_tells_its_request() {
        let id = "0192d2ae-7a53-7c4e-8f6b-1f2e3d4c5b6a";
        let of = |subject: &str| request_of(subject, "tl.acme.log.");
        assert_eq!(of(&format!("tl.acme.log.{id}")), Some(id.parse().unwrap()));
        for other in [
            format!("tl.other.log.{id}"),
            format!("tl.acme.log.{}", id.to_uppercase()),
            format!("tl.acme.log.{}", id.replace('-', "")),
            "tl.acme.log.x".to_owned(),
        ] {
            assert_eq!(of(&other), None, "{other}");
        }
    }
}
