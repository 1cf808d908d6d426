use turlough_sdk::{Flow, Retry};

fn main() {
    let flow = Flow::builder("f");
    let _ = flow.input::<u32>().retry(Retry::never());
}
