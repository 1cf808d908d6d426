//! Rules of single nodes, read plainly.

use std::sync::Arc;

use turlough_sdk::{Cause, Fallback, Vertex};

use super::plain::Stage;
use crate::machine::given::Given;

/// Several inputs as one.
pub(super) fn join(inputs: Vec<(Arc<str>, Option<Given>)>) -> Given {
    let one_name = inputs.windows(2).all(|pair| pair[0].0 == pair[1].0);
    let mut live = inputs
        .into_iter()
        .filter_map(|(name, given)| Some((name, given?)));
    if one_name {
        return live.next().map_or(Given::Empty, |(_, given)| given);
    }
    Given::Map(Arc::new(live.collect()))
}

pub(super) fn part(vertex: &Vertex, stage: Stage) -> &Vertex {
    match (stage, &vertex.fallback) {
        (Stage::Fallback, Some(Fallback::Node(part))) => part,
        _ => vertex,
    }
}

pub(super) fn once(vertex: &Vertex, stage: Stage) -> bool {
    matches!(stage, Stage::Run | Stage::Fallback) && !part(vertex, stage).idempotent
}

/// Whether the start is recorded before the call.
pub(super) fn commits(vertex: &Vertex, stage: Stage) -> bool {
    let undone = stage == Stage::Run && vertex.compensate.is_some();
    let remote = stage == Stage::Run && vertex.operation.is_remote();
    once(vertex, stage) || undone || remote
}

pub(super) fn limit(vertex: &Vertex, stage: Stage) -> u64 {
    part(vertex, stage)
        .timeout
        .map_or(0, |limit| limit.as_micros() as u64)
}

/// Whether another attempt is allowed.
pub(super) fn again(vertex: &Vertex, stage: Stage, failures: u32, cause: Cause) -> bool {
    let retry = &part(vertex, stage).retry;
    let may = !matches!(cause, Cause::Permanent | Cause::Unknown);
    let named = retry.causes().is_none_or(|causes| causes.contains(&cause));
    stage != Stage::Sleep && failures < retry.attempts() && may && named
}
