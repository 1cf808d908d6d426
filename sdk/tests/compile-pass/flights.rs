//! All that a flow can say.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use turlough_sdk::{Body, Flow, FlowError, RequestId, Retry, StepError};

#[derive(Serialize, Deserialize)]
struct Job {
    months: Vec<u32>,
}
#[derive(Serialize, Deserialize)]
struct Hours(Vec<f64>);
#[derive(Serialize, Deserialize)]
struct Cleaned {
    rows: usize,
}

fn extract(job: Job) -> Result<Vec<u32>, StepError> {
    Ok(job.months)
}
async fn clean((month, hours): (u32, Hours)) -> Result<Cleaned, std::io::Error> {
    Ok(Cleaned {
        rows: month as usize + hours.0.len(),
    })
}
fn aggregate(months: Vec<Cleaned>) -> Result<usize, StepError> {
    Ok(months.iter().map(|month| month.rows).sum())
}
fn load((job, rows, request): (Job, usize, RequestId)) -> Result<String, StepError> {
    Ok(format!("{request}: {rows} of {}", job.months.len()))
}
fn either((small, large): (Option<usize>, Option<usize>)) -> Result<usize, StepError> {
    small.or(large).ok_or_else(|| StepError::permanent("neither"))
}
fn raw(body: Body) -> Result<Body, StepError> {
    Ok(body)
}

fn flights() -> Result<Flow, FlowError> {
    let flow = Flow::builder("flights").timeout(Duration::from_secs(600));
    let job = flow.input::<Job>();
    let months = flow.map("extract", &job, extract);
    let hours = flow
        .apply::<Hours, _>("weather", &months, "clean-weather.etl")
        .method("PUT")
        .path("/v1?all=1")
        .header("X-Source", "flights")
        .content_type("application/msgpack")
        .timeout(Duration::from_secs(5));
    let cleaned = flow
        .for_each("months", &months, |month, item| {
            month.map("clean", (item, &hours), clean)
        })
        .max_parallel(4);
    let rows = flow.map("aggregate", &cleaned, aggregate).version(2);
    let choice = flow.switch("size", &rows);
    let small = flow.pass::<usize, _>("small", &choice.when(". < 10"), ". + 1");
    let large = flow.pass::<usize, _>("large", &choice.otherwise(), ".");
    let total = flow.map("total", (&small, &large), either);
    let saved = flow
        .map("load", (&job, &rows, flow.request()), load)
        .retry(Retry::exponential(
            5,
            Duration::from_millis(100)..Duration::from_secs(5),
        ));
    let image = flow.apply::<Body, _>("image", &total, "render");
    flow.map("raw", &image, raw);
    flow.output(&saved).build()
}

fn main() {
    let flow = flights().unwrap();
    assert_eq!(flow.graph().nodes.len(), 11);
}
