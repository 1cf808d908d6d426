//! What takes the place of a node gives what the node gives.

use turlough_sdk::Flow;

fn main() {
    let flow = Flow::builder("f");
    let order = flow.input::<String>();
    let price = flow.apply::<u32, _>("price", &order, "price");
    let _ = price.fallback("none");
}
