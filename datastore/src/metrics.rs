//! Prometheus metrics of a store. What is labelled is tenants, whose number is that of their passwords.

use std::sync::atomic::Ordering;

use prometheus::{
    Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::server::Shared;

/// The metrics as text, as of now.
#[allow(
    clippy::unwrap_used,
    reason = "names and labels are constants, registered once"
)]
pub(crate) fn text(shared: &Shared, now_ms: u64) -> Vec<u8> {
    let registry = Registry::new();
    let opts = |name: &str, help: &str| Opts::new(format!("turlough_store_{name}"), help);
    let gauge = |name: &str, help: &str, value: f64| {
        let gauge = Gauge::with_opts(opts(name, help)).unwrap();
        gauge.set(value);
        registry.register(Box::new(gauge)).unwrap();
    };
    let counter = |name: &str, help: &str, value: u64| {
        let counter = IntCounter::with_opts(opts(name, help)).unwrap();
        counter.inc_by(value);
        registry.register(Box::new(counter)).unwrap();
    };
    let (held, limit) = shared.store.held();
    gauge(
        "held_bytes",
        "What quotas count, over all tenants",
        held as f64,
    );
    gauge(
        "limit_bytes",
        "What all tenants may hold together",
        limit as f64,
    );
    let pool = shared.store.pool();
    let used = pool.used_bytes() as f64;
    gauge(
        "pool_used_bytes",
        "Memory that values over 16 KiB take",
        used,
    );
    let warm = pool.warm_bytes() as f64;
    gauge(
        "pool_free_bytes",
        "Memory for such values that is free and not given back yet",
        warm,
    );
    let counts = &shared.counts;
    let open = counts.connections.load(Ordering::Relaxed) as f64;
    gauge("connections", "Connections that are open", open);
    for (name, help, count) in [
        (
            "connections_total",
            "Connections that were accepted",
            &counts.accepted,
        ),
        (
            "connections_refused_total",
            "Connections past the bound",
            &counts.refused,
        ),
        (
            "commands_total",
            "Commands that were answered",
            &counts.commands,
        ),
        (
            "wrong_passwords_total",
            "Wrong passwords",
            &counts.wrong_passwords,
        ),
    ] {
        counter(name, help, count.load(Ordering::Relaxed));
    }
    tenants(shared, &registry, now_ms);
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .unwrap();
    text
}

#[allow(
    clippy::unwrap_used,
    reason = "names and labels are constants, registered once"
)]
fn tenants(shared: &Shared, registry: &Registry, now_ms: u64) {
    let opts = |name: &str, help: &str| Opts::new(format!("turlough_store_{name}"), help);
    let gauges = |name: &str, help: &str, labels: &[&str]| {
        let gauges = GaugeVec::new(opts(name, help), labels).unwrap();
        registry.register(Box::new(gauges.clone())).unwrap();
        gauges
    };
    let tenant = &["tenant"];
    let bytes = gauges("bytes", "What a tenant's quota counts", tenant);
    let keys = gauges("keys", "Keys", tenant);
    let buckets = gauges(
        "buckets",
        "Buckets, dropped ones that still refuse old claims included",
        tenant,
    );
    let flying = gauges(
        "bytes_in_flight",
        "Bytes of values that are being received",
        tenant,
    );
    let quota = gauges(
        "quota_bytes",
        "What a tenant may hold",
        &["tenant", "limit"],
    );
    let over_soft = gauges(
        "over_soft_quota",
        "1 where no new requests are to be admitted",
        tenant,
    );
    let used = gauges("byte_seconds", "Bytes over time, since the start", tenant);
    let refusals = opts("quota_refusals_total", "Puts that a quota refused");
    let refusals = IntCounterVec::new(refusals, tenant).unwrap();
    registry.register(Box::new(refusals.clone())).unwrap();
    for tenant in shared.store.tenants() {
        let (usage, limits) = (tenant.usage(now_ms), tenant.quota());
        let name = &[tenant.name()];
        bytes.with_label_values(name).set(usage.bytes as f64);
        keys.with_label_values(name).set(usage.keys as f64);
        buckets.with_label_values(name).set(usage.buckets as f64);
        flying
            .with_label_values(name)
            .set(usage.bytes_in_flight as f64);
        for (limit, value) in [
            ("soft", limits.soft),
            ("hard", limits.hard),
            ("flight", limits.flight),
        ] {
            quota
                .with_label_values(&[tenant.name(), limit])
                .set(value as f64);
        }
        let is_over = usage.bytes > limits.soft;
        over_soft
            .with_label_values(name)
            .set(f64::from(u8::from(is_over)));
        used.with_label_values(name)
            .set(usage.byte_ms as f64 / 1_000.0);
        refusals.with_label_values(name).inc_by(usage.refusals);
    }
}
