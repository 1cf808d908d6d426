//! A flow of two steps. Each step is a plain function of what it uses; what `apply` and the builder's other
//! operations do stands in Turlough's documentation.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use turlough_flow_function::{Flow, FlowError, StepError, serve};

#[derive(Debug, Deserialize)]
struct Order {
    items: Vec<Item>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    name: String,
    count: u64,
    price: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bill {
    items: usize,
    total: u64,
}

/// What is ordered at all.
async fn ordered(order: Order) -> Result<Vec<Item>, StepError> {
    let items = order.items.into_iter();
    Ok(items.filter(|item| item.count > 0).collect())
}

async fn bill(items: Vec<Item>) -> Result<Bill, StepError> {
    let costs = items.iter().map(|item| item.count * item.price);
    Ok(Bill {
        items: items.len(),
        total: costs.sum(),
    })
}

fn order() -> Result<Flow, FlowError> {
    let flow = Flow::builder("order");
    let order = flow.input::<Order>();
    let items = flow.map("ordered", &order, ordered);
    let bill = flow.map("bill", &items, bill);
    flow.output(&bill).build()
}

fn main() -> ExitCode {
    serve(order())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_is_valid() {
        assert!(order().is_ok());
    }
}
