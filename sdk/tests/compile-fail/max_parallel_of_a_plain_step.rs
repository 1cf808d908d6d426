use turlough_sdk::{Flow, StepError};

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let _ = flow
        .map("same", &n, |n: u32| -> Result<u32, StepError> { Ok(n) })
        .max_parallel(2);
}
