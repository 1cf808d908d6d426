use turlough_sdk::{Flow, StepError};

fn main() {
    let flow = Flow::builder("f");
    let text = flow.input::<String>();
    flow.map("double", &text, |n: u32| -> Result<u32, StepError> { Ok(n * 2) });
}
