use std::rc::Rc;
use turlough_sdk::{Flow, StepError};

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let shared = Rc::new(1);
    flow.map("add", &n, move |n: u32| -> Result<u32, StepError> { Ok(n + *shared) });
}
