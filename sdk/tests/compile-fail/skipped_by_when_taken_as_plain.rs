//! What a `when` may skip may be absent; so it cannot be a state that is repeated either.

use turlough_sdk::{Flow, StepError};

fn same(n: u32) -> Result<u32, StepError> {
    Ok(n)
}
fn add((a, b): (u32, u32)) -> Result<u32, StepError> {
    Ok(a + b)
}

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let even = flow.map("even", &n, same).when(". % 2 == 0");
    flow.map("add", (&n, &even), add);
    flow.repeat_while("again", &n, |n: &u32| *n < 3, 5, |body, n| {
        body.map("next", n, same).when(". > 0")
    });
}
