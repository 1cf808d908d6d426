//! An input is no node, so it cannot be the output of a flow or of a body.

use turlough_sdk::Flow;

fn main() {
    let flow = Flow::builder("echo");
    let input = flow.input::<u32>();
    let _ = flow.output(&input).build();
}
