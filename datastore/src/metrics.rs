//! Prometheus metrics of a store. What is labelled is tenants, whose number is that of their passwords.

use std::sync::atomic::{AtomicU64, Ordering};

use turlough_telemetry::Registry;

use crate::server::Shared;

/// The metrics as text, as of now.
pub(crate) fn text(shared: &Shared, now_ms: u64) -> Vec<u8> {
    read(shared, now_ms).text()
}

fn read(shared: &Shared, now_ms: u64) -> Registry {
    let metrics = Metrics(Registry::new(
        "turlough-datastore",
        env!("CARGO_PKG_VERSION"),
    ));
    memory(shared, &metrics);
    disk(shared, &metrics);
    peers(shared, &metrics);
    clients(shared, &metrics);
    tenants(shared, &metrics.0, now_ms);
    metrics.0
}

/// What is told once, of the whole store.
struct Metrics(Registry);

impl Metrics {
    fn gauge(&self, end: &str, help: &str, value: f64) {
        self.0.gauge(&name(end), help).set(value);
    }

    fn count(&self, end: &str, help: &str, count: &AtomicU64) {
        let counter = self.0.counter(&name(end), help);
        counter.inc_by(count.load(Ordering::Relaxed));
    }
}

fn name(end: &str) -> String {
    format!("turlough_store_{end}")
}

fn memory(shared: &Shared, to: &Metrics) {
    let (held, limit) = shared.store.held();
    let help = "What quotas count of memory, over all tenants";
    to.gauge("held_bytes", help, held as f64);
    let help = "What all tenants may hold in memory together";
    to.gauge("limit_bytes", help, limit as f64);
    let pool = shared.store.pool();
    let help = "Memory that values over 16 KiB take";
    to.gauge("pool_used_bytes", help, pool.used_bytes() as f64);
    let help = "Memory for such values that is free and not given back yet";
    to.gauge("pool_free_bytes", help, pool.warm_bytes() as f64);
}

fn disk(shared: &Shared, to: &Metrics) {
    let Some(pressure) = shared.store.pressure() else {
        return;
    };
    let help = "What values on disk take there";
    to.gauge("spilled_bytes", help, pressure.disk.bytes() as f64);
    let help = "Values that went to disk";
    to.count("spilled_total", help, &pressure.spilled);
    let help = "Values that came back from disk";
    to.count("loaded_total", help, &pressure.loaded);
    let help = "Values that a disk did not take, or did not give back";
    to.count("spill_errors_total", help, &pressure.failed);
}

fn peers(shared: &Shared, to: &Metrics) {
    let counts = shared.peers.counts();
    let help = "Other stores that are known";
    to.gauge("peers", help, shared.peers.known() as f64);
    let help = "Words to other stores that are under way";
    to.gauge("copies_pending", help, counts.pending() as f64);
    let help = "Values that another store was given a copy of";
    to.count("copies_total", help, &counts.copied);
    let help = "Words to other stores that were not heard: copies, leases, drops";
    to.count("copies_failed_total", help, &counts.failed);
    let help = "Values by reference that were read of other stores";
    to.count("fetched_total", help, &counts.fetched);
    let help = "Of these, those that only the copy was left of";
    to.count("saved_total", help, &counts.saved);
    let help = "Values by reference that no store held any more";
    to.count("lost_total", help, &counts.lost);
}

fn clients(shared: &Shared, to: &Metrics) {
    let counts = &shared.counts;
    let open = counts.connections.load(Ordering::Relaxed);
    to.gauge("connections", "Connections that are open", open as f64);
    let held = counts.buffered.load(Ordering::Relaxed);
    let help = "What connections hold of commands and replies";
    to.gauge("buffers_bytes", help, held as f64);
    let help = "Connections that were accepted";
    to.count("connections_total", help, &counts.accepted);
    let help = "Connections past the bound";
    to.count("connections_refused_total", help, &counts.refused);
    let help = "Commands that were answered";
    to.count("commands_total", help, &counts.commands);
    let help = "Wrong passwords";
    to.count("wrong_passwords_total", help, &counts.wrong_passwords);
}

fn tenants(shared: &Shared, registry: &Registry, now_ms: u64) {
    let gauges = |end: &str, help: &str, labels: &[&str]| registry.gauges(&name(end), help, labels);
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
    let refusals = name("quota_refusals_total");
    let refusals = registry.counters(&refusals, "Puts that a quota refused", tenant);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::StoreProcess;
    use crate::settings::Settings;

    #[tokio::test]
    async fn the_document_lists_what_is_there() {
        let spill = tempfile::tempdir().unwrap();
        let settings = Settings {
            port: 0,
            metrics_port: 0,
            spill: Some(spill.path().to_owned()),
            ..Settings::from_environment()
        };
        let process = StoreProcess::open(&settings).await.unwrap();
        let registry = read(process.shared(), 0);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let process = "turlough-datastore";
        let checked = turlough_telemetry::check_document(path.as_ref(), process, &registry);
        assert_eq!(checked, Ok(()));
    }
}
