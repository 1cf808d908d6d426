use turlough_sdk::{Flow, StepError};

fn add((a, b): (u32, u32)) -> Result<u32, StepError> {
    Ok(a + b)
}

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let m = flow.map("m", &n, |n: u32| -> Result<u32, StepError> { Ok(n) });
    flow.map("add", (&n, &m, flow.request()), add);
}
