//! Memory of the machine alone, by an allocator that counts. Bytes are what is asked for, without what
//! the allocator itself adds; the machine's own, without what it handed to its driver and without the
//! flow, which all requests share.

#[path = "shapes.rs"]
mod shapes;

use std::alloc::System;
use std::sync::Arc;

use shapes::{Text, chain, epigenomics, fan_out, layered, montage};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use turlough_flow_function::bench::{Machine, log};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes after the event that opens most, at the peak, and at the end; and allocations per event.
struct Figures {
    events: usize,
    begin: usize,
    peak: usize,
    end: usize,
    allocations: f64,
}

fn measure(text: &Text, items: usize) -> Figures {
    let flow = text.flow();
    let log = log(&flow, u32::try_from(items).unwrap());
    let before = held();
    let mut machine = Machine::new(&flow);
    let (mut begin, mut peak) = (0, 0);
    let allocations = ALLOCATOR.stats().allocations;
    for (at, event) in log.iter().enumerate() {
        machine.apply(event);
        drop(machine.wanted());
        let now = held() - before;
        peak = peak.max(now);
        if at == if items == 0 { 1 } else { 2 } {
            begin = now;
        }
    }
    assert!(machine.is_over());
    let allocations = ALLOCATOR.stats().allocations - allocations;
    let figures = Figures {
        events: log.len(),
        begin,
        peak,
        end: held() - before,
        allocations: allocations as f64 / log.len() as f64,
    };
    drop((machine, Arc::clone(&flow)));
    figures
}

fn main() {
    let mut lines = Vec::new();
    let mut add = |name: &str, text: Text, items: usize, unit: &str, units: usize| {
        let f = measure(&text, items);
        let per = |bytes: usize| bytes as f64 / units as f64;
        lines.push(format!(
            "  \"{name}\": {{\"events\": {}, \"per\": \"{unit}\", \"bytes_begin\": {:.1}, \
             \"bytes_peak\": {:.1}, \"bytes_end\": {:.1}, \"allocations_per_event\": {:.2}}}",
            f.events,
            per(f.begin),
            per(f.peak),
            per(f.end),
            f.allocations,
        ));
    };
    for nodes in [10, 100, 1_000, 10_000] {
        add(&format!("chain-{nodes}"), chain(nodes), 0, "node", nodes);
    }
    for items in [10, 100, 1_000, 10_000] {
        add(
            &format!("fan-out-{items}"),
            fan_out(items),
            items,
            "open step",
            items,
        );
    }
    add(
        "fan-out-100000",
        fan_out(100_000),
        100_000,
        "item, 10000 open",
        100_000,
    );
    add("layered-100x100", layered(100, 100), 0, "node", 10_000);
    add("montage-2122", montage(), 0, "node", 2_122);
    add("epigenomics-1695", epigenomics(), 0, "node", 1_695);
    #[expect(clippy::print_stdout, reason = "it is what the benchmark is for")]
    {
        println!("{{\n{}\n}}", lines.join(",\n"));
    }
}
