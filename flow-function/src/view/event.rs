//! Events as the event stream shows them, without payloads.

use serde_json::{Value as Json, json};
use turlough_sdk::StepPath;
use turlough_statestore::Event;
use turlough_statestore::event::{Accepted, Delivery, Outcome, StepEnd, StepEnded, Trouble};

use super::{millis, owed_to, place, time, told_trouble};

/// Longest graph made at run time that its event shows, in bytes; the log has all of it.
const GRAPH_BYTES_MAX: usize = 64 * 1024;

/// An event by its name; none for what only the log needs.
pub(crate) fn event(event: &Event) -> Option<(&'static str, Json)> {
    let at = |at_us: &u64| json!({ "at": time(*at_us) });
    Some(match event {
        Event::Part { .. } | Event::Snapshot(_) => return None,
        Event::Accepted(accepted) => ("accepted", begun(accepted)),
        Event::Claimed {
            replica,
            epoch,
            at_us,
        } => (
            "claimed",
            json!({ "replica": replica.to_string(), "epoch": epoch, "at": time(*at_us) }),
        ),
        Event::Released { at_us } => ("released", at(at_us)),
        Event::StepStarted {
            step,
            attempt,
            at_us,
        } => ("step_started", begins(step, *attempt, *at_us)),
        Event::StepCalled {
            step,
            attempt,
            at_us,
        } => ("step_called", begins(step, *attempt, *at_us)),
        Event::StepEnded(ended) => ("step_ended", step_ended(ended)),
        Event::Ticked { at_us } => ("ticked", at(at_us)),
        Event::OutputLost { value, at_us } => {
            let view = json!({ "lost": place(value), "at": time(*at_us) });
            ("output_lost", view)
        }
        Event::OutputFailed {
            message,
            cause,
            at_us,
        } => {
            let view = json!({ "error": message, "cause": cause, "at": time(*at_us) });
            ("output_failed", view)
        }
        Event::Signalled { name, value, at_us } => (
            "signalled",
            json!({ "signal": name, "bytes": value.size(), "at": time(*at_us) }),
        ),
        Event::PauseAsked { at_us } => ("pause_asked", at(at_us)),
        Event::ResumeAsked { at_us } => ("resume_asked", at(at_us)),
        Event::CancelAsked { at_us } => ("cancel_asked", at(at_us)),
        Event::RestartAsked {
            from,
            version,
            deadline_us,
            at_us,
        } => (
            "restart_asked",
            json!({
                "from": from.as_ref().map(|step| step.as_str()),
                "version": version,
                "deadline": time(*deadline_us),
                "at": time(*at_us),
            }),
        ),
        Event::Ended {
            outcome,
            trouble,
            owed,
            at_us,
        } => ("ended", ended(outcome, trouble, owed, *at_us)),
        Event::Delivered { error, at_us, .. } => {
            ("delivered", json!({ "error": error, "at": time(*at_us) }))
        }
        Event::Closing { at_us } => ("closing", at(at_us)),
        Event::Settled { at_us } => ("settled", at(at_us)),
    })
}

fn begins(step: &StepPath, attempt: u32, at_us: u64) -> Json {
    json!({ "step": step.as_str(), "attempt": attempt, "at": time(at_us) })
}

fn begun(accepted: &Accepted) -> Json {
    let mut view = json!({
        "flow": accepted.flow.as_str(),
        "version": accepted.version,
        "tenant": accepted.tenant.as_str(),
        "bytes": accepted.input.size(),
        "deadline": time(accepted.deadline_us),
        "at": time(accepted.at_us),
    });
    if let Some(parent) = &accepted.parent {
        view["parent"] = parent.request.to_string().into();
        view["parent_step"] = parent.step.as_str().into();
    }
    view
}

fn ended(outcome: &Outcome, trouble: &[Trouble], owed: &[Delivery], at_us: u64) -> Json {
    let mut view = json!({ "status": outcome.status(), "at": time(at_us) });
    if let Outcome::Failed {
        step,
        message,
        cause,
    } = outcome
    {
        view["step"] = step.as_str().into();
        view["error"] = message.as_str().into();
        view["cause"] = json!(cause);
    }
    if !trouble.is_empty() {
        view["trouble"] = trouble.iter().map(told_trouble).collect();
    }
    if !owed.is_empty() {
        view["owed"] = owed.iter().map(owed_to).collect();
    }
    view
}

/// The end of an attempt.
pub(super) fn step_ended(ended: &StepEnded) -> Json {
    let mut view = json!({
        "step": ended.step.as_str(),
        "status": status(&ended.end),
        "attempt": ended.attempt,
        "begin": time(ended.begin_us),
        "end": time(ended.end_us),
        "duration_ms": millis(ended.begin_us, ended.end_us),
        "replica": ended.replica.to_string(),
    });
    if ended.generation > 0 {
        view["generation"] = ended.generation.into();
    }
    if !ended.set.is_empty() {
        view["set"] = ended.set.iter().map(|(name, _)| name.as_str()).collect();
    }
    tell(&mut view, &ended.end);
    if let StepEnd::Expanded { graph, .. } = &ended.end
        && graph.len() <= GRAPH_BYTES_MAX
    {
        view["graph"] = graph.as_str().into();
    }
    view
}

/// What an end says beside its status.
pub(super) fn tell(view: &mut Json, end: &StepEnd) {
    match end {
        StepEnd::Succeeded { value } => {
            view["bytes"] = value.size().into();
            view["data"] = place(value).into();
        }
        StepEnd::Took { cases, .. } => view["cases"] = json!(cases),
        StepEnd::Split { items, .. } => view["items"] = (*items).into(),
        StepEnd::Asked { again, .. } => view["again"] = (*again).into(),
        StepEnd::Expanded { graph, .. } => view["graph_bytes"] = graph.len().into(),
        StepEnd::Waits { until_us } => view["until"] = time(*until_us).into(),
        StepEnd::Lost { value } => view["lost"] = place(value).into(),
        StepEnd::Failed { message, cause } => {
            view["error"] = message.as_str().into();
            view["cause"] = json!(cause);
        }
        StepEnd::Went | StepEnd::Skipped => {}
    }
}

/// How the step stands after an end of one of its attempts.
pub(super) const fn status(end: &StepEnd) -> &'static str {
    match end {
        StepEnd::Succeeded { .. } | StepEnd::Took { .. } | StepEnd::Asked { again: false, .. } => {
            "succeeded"
        }
        StepEnd::Went
        | StepEnd::Split { .. }
        | StepEnd::Asked { again: true, .. }
        | StepEnd::Expanded { .. } => "running",
        StepEnd::Skipped => "skipped",
        StepEnd::Waits { .. } => "sleeping",
        StepEnd::Lost { .. } => "lost",
        StepEnd::Failed { .. } => "failed",
    }
}
