//! Every operation and attribute.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use turlough_sdk::builder::{Always, Node, Scope, after, jq, secret};
use turlough_sdk::{
    Cause, Collected, CollectedMap, Compensation, Context, Flow, FlowError, Report, Retry,
    StepError,
};

#[derive(Serialize, Deserialize)]
struct Order {
    lines: Vec<u32>,
    stock: BTreeMap<String, u32>,
    total: u32,
}
#[derive(Serialize, Deserialize)]
struct Payment {
    id: String,
}

fn charge((order, context): (Order, Context)) -> Result<Payment, StepError> {
    let region: Option<String> = context.get("region")?;
    context.set("charged", &order.total)?;
    let id = format!("{}-{}-{region:?}", context.request(), context.attempt());
    Ok(Payment { id })
}
fn refund(done: Compensation<(Order, Context), Payment>) -> Result<(), StepError> {
    let (order, context) = done.input;
    let error = context.error().map(|error| &error.message);
    match done.output {
        Some(payment) => println!("give {} back for {}: {error:?}", order.total, payment.id),
        None => println!("look for a payment of {}", context.request()),
    }
    Ok(())
}
async fn later(order: Order) -> Result<Order, std::io::Error> {
    Ok(order)
}
fn sum(lines: Vec<u32>) -> Result<u32, StepError> {
    Ok(lines.iter().sum())
}
fn failed(lines: Collected<u32>) -> Result<usize, StepError> {
    Ok(lines.errors.len())
}
fn is_large(order: &Order) -> bool {
    order.total > 100
}
fn plan(order: Order) -> Result<serde_json::Value, StepError> {
    let nodes: serde_json::Map<_, _> = (0..order.total)
        .map(|n| (format!("n{n}"), serde_json::json!({ "map": "double" })))
        .collect();
    Ok(serde_json::json!({ "nodes": nodes }))
}
fn double(n: u32) -> Result<u32, StepError> {
    Ok(n * 2)
}
fn tell(report: Report) -> Result<String, StepError> {
    Ok(format!("{:?} {:?}", report.status, report.error))
}

/// A part of a flow as a function: its handles say no more than what they give.
fn calls(flow: &Scope, order: &Node<Order, Always>) -> Node<Payment> {
    let quote = flow
        .apply::<u32, _>("quote", order, "quote.shop")
        .method("PUT")
        .path(jq(r#""/" + (.total | tostring)"#))
        .query("currency", "EUR")
        .header("Authorization", secret("quote-token"))
        .content_type("application/msgpack")
        .asynchronous()
        .timeout(Duration::from_secs(60));
    flow.http::<Payment, _>("order", &quote, "https://shop.example/orders")
        .query("total", jq("."))
        .header("X-Api-Key", secret("shop-key"))
        .callback()
        .at_most_once()
        .plain()
}

fn items(flow: &Scope, order: &Node<Order>) -> Node<usize> {
    let one = |body: &Scope, line: &Node<u32, _, _>| body.map("line", line, double).plain();
    let total = flow
        .for_each("lines", &order.via::<Vec<u32>, _>(".lines"), one)
        .max_parallel(4)
        .aggregate(sum)
        .set("total", ".");
    let stock: Node<CollectedMap<u32>, _, _> = flow
        .for_each("stock", &order.via(|order: Order| Ok::<_, StepError>(order.stock)), |body, n| {
            body.apply::<u32, _>("reserve", n, "reserve").pure()
        })
        .collect();
    let failures = flow
        .for_each("checks", &order.via::<Vec<u32>, _>(".lines"), |body, line| {
            body.pass::<u32, _>("check", (line, &total), ".")
        })
        .collect()
        .aggregate(failed);
    let counted: Node<usize, _, _> = flow.pass("counted", (&stock, &failures), ".failures");
    counted.plain()
}

fn shop() -> Result<Flow, FlowError> {
    let flow = Flow::builder("shop")
        .timeout(Duration::from_secs(3600))
        .concurrency(8)
        .header("X-Region")
        .closure("double", double)
        .closure_of_version("sum", 2, sum);
    let input = flow.input::<Order>();
    let order = flow.map("later", &input, later).plain();

    let payment = flow
        .map("charge", (&order, flow.context()), charge)
        .version(2)
        .retry(
            Retry::exponential(3, Duration::from_millis(100)..Duration::from_secs(5))
                .on(&[Cause::Timeout, Cause::Transient]),
        )
        .fallback_with(|other| {
            other
                .map(|(order, _): (Order, Context)| -> Result<Payment, StepError> {
                    Ok(Payment { id: order.total.to_string() })
                })
                .timeout(Duration::from_secs(1))
        })
        .compensate(|undo| undo.map(refund).retry(Retry::exponential(9, Duration::ZERO..Duration::ZERO)))
        .set("payment", ".id");
    let bought = calls(&flow, &order);
    let counted = items(&flow, &order);

    let size = flow.switch("size", &order).all();
    let large = flow.map("large", &size.when(is_large), later).fallback(Order {
        lines: Vec::new(),
        stock: BTreeMap::new(),
        total: 0,
    });
    let odd = flow.pass::<u32, _>("odd", &size.when(".total % 2 == 1"), ".total");
    let rest = flow.subflow::<u32, _>("rest", &size.otherwise(), "rest").at_most_once();
    let gift = flow
        .apply::<u32, _>("gift", &order, "gift")
        .when(is_large)
        .compensate(|undo| undo.apply("take-back").method("DELETE"))
        .fallback(0);

    let polled = flow
        .repeat_while("poll", &order, |order: &Order| order.total < 10, 5, |body, state| {
            let slept = body.wait("sleep", state, Duration::from_secs(10));
            body.map("ask", &slept, later)
        })
        .retry(Retry::never());
    let due = flow.wait_until("due", &polled, ".total + 1700000000");
    let approved: Node<bool, _, _> = flow.signal("approved", &due, "approval");
    let built = flow.expand::<u32, _, _, _>("build", &order, |by| by.map(plan));
    let asked = flow.expand::<u32, _, _, _>("ask-for", &order, |by| {
        by.apply("planner").header("X-Plan", "short").timeout(Duration::from_secs(5))
    });
    let notified = flow
        .http::<(), _>("notify", after(&payment), "https://notify.example")
        .idempotent();
    let all = (&payment, &bought, &counted, &large, &odd, &rest, &gift, &approved);
    let done = flow
        .pass::<String, _>("done", all, ".charge.id")
        .after(&notified)
        .after(&built)
        .after(&asked);
    flow.output(&done)
        .on_failure(|body, report| body.map("tell", report, tell))
        .finally(|body, report| {
            let told = body.map("tell-all", report, tell);
            body.http::<(), _>("log", &told, "https://log.example").method("PUT").idempotent()
        })
        .build()
}

fn main() {
    let flow = shop().unwrap();
    assert_eq!(flow.graph().nodes.len(), 20);
    assert!(flow.on_failure().is_some() && flow.finally().is_some());
    assert_eq!(flow.closures().len(), 2);
}
