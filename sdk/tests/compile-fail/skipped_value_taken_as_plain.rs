use turlough_sdk::{Flow, StepError};

fn add((a, b): (u32, u32)) -> Result<u32, StepError> {
    Ok(a + b)
}

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let small = flow.switch("route", &n).when(". < 10");
    flow.map("add", (&n, &small), add);
}
