use turlough_sdk::{Flow, StepError};

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    flow.for_each("each", &n, |body, item| {
        body.map("same", item, |n: u32| -> Result<u32, StepError> { Ok(n) })
    });
}
