//! A condition is asked of the value that it stands on.

use turlough_sdk::Flow;

fn is_long(text: &String) -> bool {
    text.len() > 3
}

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let _ = flow.switch("route", &n).when(is_long);
    let _ = flow.apply::<u32, _>("call", &n, "call").when(is_long);
}
