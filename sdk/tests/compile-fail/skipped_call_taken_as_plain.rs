//! What a function answers below a case of a switch may be absent.

use turlough_sdk::{Flow, StepError};

fn sum((all, some): (u32, u32)) -> Result<u32, StepError> {
    Ok(all + some)
}

fn main() {
    let flow = Flow::builder("sum");
    let input = flow.input::<u32>();
    let route = flow.switch("route", &input);
    let some = flow.apply::<u32, _>("some", &route.when(". > 3"), "double");
    flow.map("sum", (&input, &some), sum);
}
