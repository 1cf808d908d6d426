//! What each process says of itself: lines of its log, and metrics.
//!
//! Invariant: every metric of a process is made by its [`Registry`], so that the document of metrics
//! ([`check_document`]) lists all that there are. Absent: traces, which only flow-functions have.

mod document;
mod log;
mod registry;

pub use document::check_document;
pub use log::LogFormat;
pub use registry::{Registry, WAIT_BUCKETS};

pub use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec,
};
