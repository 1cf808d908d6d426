//! A request that stands already under the id that somebody asks for.

use std::sync::Arc;
use std::time::Duration;

use turlough_sdk::{Digest, RequestId, Value};
use turlough_statestore::{Event, Seq, StateError};

use super::again::Again;
use super::{StartError, Started};
use crate::fault::{Fault, planted};
use crate::shared::Shared;

/// How often it is looked whether a request stands that somebody else is recording, and the wait in
/// between: ten seconds, less than callers wait.
const ATTACH_TRIES_MAX: u32 = 100;
const ATTACH_WAIT: Duration = Duration::from_millis(100);

impl Shared {
    /// The same request, once it stands in its log: whoever came first may still be recording it here.
    pub(super) async fn attach_soon(
        self: &Arc<Self>,
        request: RequestId,
        input: &Value,
        again: Again,
    ) -> Result<Started, StartError> {
        for _ in 0..ATTACH_TRIES_MAX {
            let is_here = !self.desk.of_these(&[request]).is_empty();
            if let Some(found) = self.attach(request, input, again).await? {
                return Ok(found);
            }
            if planted(Fault::FirstNotAwaited) {
                return Err(StartError::Lost);
            }
            if !is_here {
                break;
            }
            tokio::time::sleep(ATTACH_WAIT).await;
        }
        Err(StartError::Log(StateError::Unavailable {
            attempted: format!("start of request {request}"),
            reason: "another with the same Idempotency-Key was not recorded; ask again".to_owned(),
        }))
    }

    /// The request that stands under an id, if its input is the same.
    pub(super) async fn attach(
        self: &Arc<Self>,
        request: RequestId,
        input: &Value,
        again: Again,
    ) -> Result<Option<Started>, StartError> {
        let records = self.log.read(request, Seq::START).await?;
        let mut events = records.iter().flat_map(|record| &record.append.events);
        let accepted = events.find_map(|event| match event {
            Event::Accepted(accepted) => Some(accepted),
            _ => None,
        });
        let Some(accepted) = accepted else {
            return Ok(None);
        };
        // Another delivery is another call, of whose callback this request does not know.
        let is_known = again.delivery.is_some() && accepted.delivery == again.delivery;
        if again.is_once() && !is_known {
            return Err(StartError::Replayed { request });
        }
        if accepted.input.digest() != Digest::of(input.envelope()) {
            return Err(StartError::KeyReused { request });
        }
        let calls_back = is_known && accepted.callbacks.iter().any(|it| it.is_openfaas);
        let finished = self.finished(request).await;
        Ok(Some(Started {
            request,
            is_new: false,
            calls_back,
            finished,
        }))
    }
}
