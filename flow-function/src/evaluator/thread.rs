//! jq in a thread of this process: for tests, whose own program evaluates nothing. What does not end
//! within its time is left behind until the process ends.

use std::time::Duration;

use tokio::sync::oneshot;
use turlough_sdk::{Expression, StepError, Value, Variables};

use super::here;
use super::message::{Mode, Outcome};

/// Room for recursion as deep as a helper process has; only what is used is taken.
const STACK_BYTES: usize = 256 << 20;

pub(super) async fn evaluate(
    mode: Mode,
    expression: &Expression,
    input: Value,
    variables: Variables,
    limit: Duration,
) -> Result<Outcome, StepError> {
    let (answer, answered) = oneshot::channel();
    let asked = expression.clone();
    let work = move || drop(answer.send(here(mode, &asked, &input, &variables)));
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let thread = thread.name("jq".to_owned()).spawn(work);
    drop(thread.map_err(StepError::transient)?);
    let text = match tokio::time::timeout(limit, answered).await {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(_)) => "lost its thread".to_owned(),
        Err(_) => {
            format!("took longer than {limit:?}; make it do less, or raise TURLOUGH_JQ_TIMEOUT")
        }
    };
    let source: String = expression.source().chars().take(200).collect();
    Err(StepError::permanent(format!(
        "jq expression {source:?} {text}"
    )))
}
