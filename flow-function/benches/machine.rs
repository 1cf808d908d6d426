//! Time of the machine alone, per event: as a driver lives with it (an event, then what is wanted),
//! and as a reader folds a log; of snapshots, per event; and of reading a flow, per node. It is the
//! time of the processor, so that what else runs on the machine has little to say in it.

#[path = "processor.rs"]
mod processor;
#[path = "shapes.rs"]
mod shapes;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use processor::Processor;
use shapes::{Text, chain, epigenomics, fan_out, layered, montage};
use turlough_flow_function::bench::{Machine, log};
use turlough_sdk::Flow;

fn every_shape() -> Vec<(String, Text, usize)> {
    let mut all = Vec::new();
    for nodes in [10, 100, 1_000, 10_000] {
        all.push((format!("chain-{nodes}"), chain(nodes), 0));
    }
    for items in [10, 100, 1_000, 10_000, 100_000] {
        all.push((format!("fan-out-{items}"), fan_out(items), items));
    }
    all.push(("layered-100x100".to_owned(), layered(100, 100), 0));
    all.push(("montage-2122".to_owned(), montage(), 0));
    all.push(("epigenomics-1695".to_owned(), epigenomics(), 0));
    all
}

fn drive(group: &mut BenchmarkGroup<'_, Processor>, name: &str, flow: &Arc<Flow>, items: usize) {
    let log = log(flow, u32::try_from(items).unwrap());
    group.throughput(Throughput::Elements(log.len() as u64));
    group.bench_function(BenchmarkId::new("drive", name), |bencher| {
        let run = |mut machine: Machine| {
            for event in &log {
                machine.apply(event);
                black_box(machine.wanted());
            }
            assert!(machine.is_over());
            machine
        };
        bencher.iter_batched(|| Machine::new(flow), run, BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("fold", name), |bencher| {
        let fold = |mut machine: Machine| {
            log.iter().for_each(|event| machine.apply(event));
            black_box(machine.wanted());
            machine
        };
        bencher.iter_batched(|| Machine::new(flow), fold, BatchSize::PerIteration);
    });
}

/// Of a request that is half done.
fn snapshots(
    group: &mut BenchmarkGroup<'_, Processor>,
    name: &str,
    flow: &Arc<Flow>,
    items: usize,
) {
    let log = log(flow, u32::try_from(items).unwrap());
    let mut machine = Machine::new(flow);
    for event in &log[..log.len() / 2] {
        machine.apply(event);
        black_box(machine.wanted());
    }
    let bytes = machine.snapshot();
    group.throughput(Throughput::Elements(log.len() as u64));
    group.bench_function(BenchmarkId::new("snapshot", name), |bencher| {
        bencher.iter(|| black_box(machine.snapshot()));
    });
    group.bench_function(BenchmarkId::new("restore", name), |bencher| {
        bencher.iter(|| Machine::restore(flow, &bytes).unwrap());
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(Processor)
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("machine");
    for (name, text, items) in every_shape() {
        let flow = text.flow();
        drive(&mut group, &name, &flow, items);
        if items == 0 {
            group.throughput(Throughput::Elements(flow.graph().nodes.len() as u64));
            group.bench_function(BenchmarkId::new("read-flow", &name), |bencher| {
                bencher.iter(|| text.flow());
            });
        }
        if ["fan-out-10000", "layered-100x100"].contains(&name.as_str()) {
            snapshots(&mut group, &name, &flow, items);
        }
    }
    group.finish();
    criterion.final_summary();
}
