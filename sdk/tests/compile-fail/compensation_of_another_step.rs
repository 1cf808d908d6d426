//! A compensation is given what the step was given, and what it gave.

use turlough_sdk::{Compensation, Flow, StepError};

fn charge((order, limit): (String, u32)) -> Result<u64, StepError> {
    Ok(order.len() as u64 + u64::from(limit))
}
fn refund(_: Compensation<String, u64>) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let flow = Flow::builder("f");
    let order = flow.input::<String>();
    let limit = flow.pass::<u32, _>("limit", &order, "length");
    let _ = flow
        .map("charge", (&order, &limit), charge)
        .compensate(|undo| undo.map(refund));
}
