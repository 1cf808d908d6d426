use turlough_sdk::{Flow, StepError};

fn add((a, b): (u32, u32)) -> Result<u32, StepError> {
    Ok(a + b)
}

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let text = flow.map("text", &n, |n: u32| -> Result<String, StepError> { Ok(n.to_string()) });
    flow.map("add", (&n, &text), add);
}
