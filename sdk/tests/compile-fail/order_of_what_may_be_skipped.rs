//! An edge of order alone would make a step run whose input was skipped.

use turlough_sdk::Flow;

fn main() {
    let flow = Flow::builder("f");
    let n = flow.input::<u32>();
    let first = flow.apply::<(), _>("first", &n, "first");
    let small = flow.switch("route", &n).when(". < 3");
    let _ = flow.apply::<u32, _>("second", &small, "second").after(&first);
}
