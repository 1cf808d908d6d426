//! The body of a loop gives the next state, of the type of the state.

use turlough_sdk::{Flow, StepError};

fn told(n: u32) -> Result<String, StepError> {
    Ok(n.to_string())
}

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    flow.repeat_while("again", &n, ". < 3", 5, |body, n| body.map("told", n, told));
}
