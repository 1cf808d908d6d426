//! A for_each that collects its errors gives more than results.

use turlough_sdk::{Flow, StepError};

fn sum(all: Vec<u32>) -> Result<u32, StepError> {
    Ok(all.iter().sum())
}

fn main() {
    let flow = Flow::builder("f");
    let list = flow.input::<Vec<u32>>();
    let all = flow
        .for_each("all", &list, |body, n| body.apply::<u32, _>("call", n, "call"))
        .collect();
    flow.map("sum", &all, sum);
}
