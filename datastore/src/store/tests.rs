//! What a store does, without a wire.

mod model;
mod sequences;

use std::sync::Arc;

use super::*;

const QUOTA: Quota = Quota {
    soft: 50_000,
    hard: 100_000,
    flight: 1_000,
};
const LEASE_MS: u64 = 10_000;

fn store() -> Store {
    Store::new(Bounds {
        bytes_max: 150_000,
        lease_ms: LEASE_MS,
        quota: QUOTA,
    })
}

fn key(text: &str) -> Key<'_> {
    Key::parse(text.as_bytes()).unwrap()
}

fn put(
    tenant: &Arc<Tenant>,
    at: &str,
    value: &[u8],
    how: Put,
    now_ms: u64,
) -> Result<bool, Refusal> {
    tenant.put(&key(at), Value::Small(value), None, how, now_ms, |_| {})
}

fn set(
    tenant: &Arc<Tenant>,
    at: &str,
    value: &[u8],
    epoch: u64,
    now_ms: u64,
) -> Result<bool, Refusal> {
    let how = Put {
        epoch: Some(epoch),
        ..Put::default()
    };
    put(tenant, at, value, how, now_ms)
}

fn get(tenant: &Tenant, at: &str, now_ms: u64) -> Option<Vec<u8>> {
    tenant.get(&key(at), now_ms, |item| match item?.value() {
        Held::Small(bytes) => Some(bytes.to_vec()),
        Held::Large(blob) => Some(blob.slices(0..blob.len()).flatten().copied().collect()),
        Held::Away(_) => panic!("it lies on disk"),
    })
}

#[test]
fn tenants_hold_nothing_of_one_another() {
    let store = store();
    let (acme, other) = (store.tenant("acme", 0), store.tenant("other", 0));
    assert!(put(&acme, "{r}a", b"1", Put::default(), 0).unwrap());
    assert_eq!(get(&acme, "{r}a", 0).unwrap(), b"1");
    assert_eq!(get(&other, "{r}a", 0), None);
    assert!(other.take(&key("{r}a"), 0).is_none());
    other.drop_bucket(b"r", 9, 0).unwrap();
    other.flush(0);
    assert_eq!(get(&acme, "{r}a", 0).unwrap(), b"1");
    assert_eq!((acme.keys(), other.keys()), (1, 0));
}

#[test]
fn a_bucket_goes_at_once_and_is_opened_by_a_higher_claim_alone() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    for n in 0..100 {
        set(&tenant, &format!("{{r}}{n}"), &[0; 36], 3, 1_000).unwrap();
    }
    set(&tenant, "{other}a", b"1", 1, 1_000).unwrap();
    assert!(matches!(
        set(&tenant, "{r}late", b"", 2, 1_000),
        Err(Refusal::Stale {
            epoch: 2,
            newest: 3,
            ..
        })
    ));
    assert!(tenant.drop_bucket(b"r", 2, 1_000).is_err());
    let holds = tenant.drop_bucket(b"r", 4, 1_500).unwrap();
    let bytes = 10 * 101 + 90 * 102;
    assert_eq!(
        (holds.keys, holds.bytes, holds.bytes_peak),
        (100, bytes, bytes)
    );
    assert_eq!(holds.byte_ms, u128::from(bytes) * 500);
    assert_eq!(get(&tenant, "{r}5", 1_500), None);
    assert_eq!(tenant.keys(), 1);
    for epoch in [3, 4] {
        let refused = set(&tenant, "{r}late", b"", epoch, 1_500);
        assert!(
            matches!(refused, Err(Refusal::Dropped { newest: 4, .. })),
            "{refused:?}"
        );
    }
    assert!(put(&tenant, "{r}plain", b"", Put::default(), 1_500).is_err());
    assert!(set(&tenant, "{r}again", b"2", 5, 1_500).unwrap());
    // What it was used for by then is told once.
    assert_eq!(tenant.drop_bucket(b"r", 5, 1_501).unwrap().keys, 1);
}

#[test]
fn a_late_put_is_refused_until_the_lease_would_have_ended() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    tenant.drop_bucket(b"r", 1, 0).unwrap();
    assert!(set(&tenant, "{r}a", b"", 1, LEASE_MS - 1).is_err());
    store.sweep(LEASE_MS);
    assert!(set(&tenant, "{r}a", b"", 1, LEASE_MS).unwrap());
}

#[test]
fn a_bucket_goes_when_its_lease_ends_and_what_was_taken_is_given_back() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    set(&tenant, "{r}a", b"1", 1, 0).unwrap();
    assert!(tenant.lease(b"r", 1, 60_000).unwrap());
    assert!(!tenant.lease(b"none", 1, 60_000).unwrap());
    assert!(tenant.lease(b"r", 0, 60_000).is_err());
    store.sweep(59_999);
    assert!(get(&tenant, "{r}a", 59_999).is_some());
    // A lease that is cut short.
    assert!(tenant.lease(b"r", 1, 30_000).unwrap());
    store.sweep(60_000);
    assert_eq!(get(&tenant, "{r}a", 60_000), None);
    let usage = tenant.usage(60_000);
    assert_eq!((usage.bytes, usage.keys, usage.buckets), (0, 0, 0));
    assert_eq!(usage.byte_ms, 66 * 60_000);
    assert_eq!(store.held().0, 0);
}

#[test]
fn what_is_kept_outlives_its_request_until_its_own_time() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    set(&tenant, "{r}a", b"1", 1, 0).unwrap();
    set(&tenant, "{r}b", b"2", 1, 0).unwrap();
    assert!(tenant.keep(&key("{r}a"), 30_000, 0));
    assert!(!tenant.keep(&key("{r}none"), 30_000, 0));
    tenant.drop_bucket(b"r", 1, 1_000).unwrap();
    assert_eq!(get(&tenant, "{r}b", 1_000), None);
    store.sweep(29_999);
    assert_eq!(get(&tenant, "{r}a", 29_999).unwrap(), b"1");
    // Its request is gone, and it is kept for longer all the same.
    assert!(tenant.keep(&key("{r}a"), 90_000, 29_999));
    store.sweep(89_999);
    assert_eq!(get(&tenant, "{r}a", 89_999).unwrap(), b"1");
    store.sweep(90_000);
    assert_eq!(get(&tenant, "{r}a", 90_000), None);
    assert_eq!(store.held().0, 0);
}

#[test]
fn what_is_kept_goes_in_its_own_time_though_its_bucket_was_leased_for_longer() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    set(&tenant, "{r}a", b"1", 1, 0).unwrap();
    assert!(tenant.keep(&key("{r}a"), 2_000, 0));
    tenant.drop_bucket(b"r", 1, 1_000).unwrap();
    assert_eq!(get(&tenant, "{r}a", 1_999).unwrap(), b"1");
    store.sweep(2_000);
    assert_eq!(get(&tenant, "{r}a", 2_000), None);
    assert_eq!(tenant.keys(), 0);
    // The bucket refuses old claims still.
    assert!(set(&tenant, "{r}b", b"1", 1, 2_000).is_err());
}

#[test]
fn a_tenant_is_refused_what_is_over_its_quota_and_nothing_goes_for_it() {
    let store = store();
    let (acme, other) = (store.tenant("acme", 0), store.tenant("other", 0));
    let mut held = 0;
    while put(
        &acme,
        &format!("{{r}}{held}"),
        &[0; 10_000],
        Put::default(),
        0,
    )
    .is_ok()
    {
        held += 1;
    }
    assert_eq!(held, 9);
    let refused = put(&acme, "{r}more", &[0; 10_000], Put::default(), 0).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "tenant acme holds 90841 of 100000 bytes; 10068 more are refused, drop requests or raise its hard limit"
    );
    assert!(put(&acme, "{r}little", b"1", Put::default(), 0).is_ok());
    // In place of a value it counts the difference, once the new one is there.
    acme.set_quota(Quota {
        hard: 200_000,
        ..QUOTA
    });
    let refused =
        (0..).find_map(|n| put(&other, &format!("{n}"), &[0; 10_000], Put::default(), 0).err());
    assert!(
        matches!(refused, Some(Refusal::Full { limit: 150_000, .. })),
        "{refused:?}"
    );
    assert_eq!(acme.usage(0).refusals, 2);
    acme.flush(0);
    assert_eq!(acme.usage(0).bytes, 0);
    assert!(put(&other, "again", &[0; 10_000], Put::default(), 0).is_ok());
}

#[test]
fn values_go_by_themselves_and_their_entries_do_not_pile_up() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    let until = |at_ms| Put {
        expires: Expires::At(at_ms),
        ..Put::default()
    };
    for n in 0..100_000 {
        put(&tenant, "{r}a", b"1", until(1_000 + n), 0).unwrap();
    }
    let entries: usize = tenant.shards().map(|shard| shard.entries()).sum();
    assert!(entries < 3_000, "{entries}");
    put(&tenant, "plain", b"1", until(500), 0).unwrap();
    assert_eq!(get(&tenant, "plain", 499).unwrap(), b"1");
    assert_eq!(get(&tenant, "plain", 500), None);
    store.sweep(500);
    assert_eq!(tenant.keys(), 1);
    assert!(tenant.expire(&key("{r}a"), 500, |_| Expires::Never));
    store.sweep(9_000);
    assert_eq!(get(&tenant, "{r}a", 9_000).unwrap(), b"1");
}

#[test]
fn every_key_that_stays_is_met_while_others_come_and_go() {
    let store = Store::new(Bounds {
        bytes_max: 1 << 30,
        lease_ms: LEASE_MS,
        quota: Quota {
            hard: 1 << 30,
            ..QUOTA
        },
    });
    let tenant = store.tenant("acme", 0);
    let name = |n: u32| match n % 3 {
        0 => format!("{{r{}}}{n}", n % 70),
        _ => format!("plain{n}"),
    };
    for n in 0..5_000 {
        put(&tenant, &name(n), b"", Put::default(), 0).unwrap();
    }
    let mut met = std::collections::HashSet::new();
    let (mut cursor, mut round) = (0, 0);
    loop {
        let (next, keys) = tenant.scan(cursor, 10, None, 0);
        met.extend(keys);
        for n in (round * 7..round * 7 + 7).filter(|n| n % 2 == 1 && *n < 5_000) {
            tenant.take(&key(&name(n)), 0);
            put(&tenant, &format!("new{n}"), b"", Put::default(), 0).unwrap();
        }
        round += 1;
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    for n in (0..5_000).filter(|n| n % 2 == 0) {
        assert!(met.contains(name(n).as_bytes()), "{}", name(n));
    }
    let (_, some) = tenant.scan(0, 10_000, Some(b"{r0}*"), 0);
    assert!(some.iter().all(|key| key.starts_with(b"{r0}")));
    let mut buckets = Vec::new();
    let mut cursor = 0;
    loop {
        let (next, some) = tenant.list_buckets(cursor, 7);
        buckets.extend(some);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    buckets.sort();
    buckets.dedup();
    assert_eq!(buckets.len(), 70);
}

#[test]
fn what_is_kept_is_met_though_its_bucket_is_dropped_between_two_steps() {
    let store = store();
    let tenant = store.tenant("acme", 0);
    let names: Vec<_> = (0..10).map(|n| format!("{{r}}{n}")).collect();
    for name in &names {
        set(&tenant, name, b"1", 1, 0).unwrap();
    }
    // In the order in which a scan meets them.
    for name in names.iter().rev() {
        tenant.keep(&key(name), 60_000, 0);
    }
    let (mut cursor, first) = tenant.scan(0, 5, None, 0);
    let mut met: std::collections::HashSet<_> = first.into_iter().collect();
    tenant.drop_bucket(b"r", 1, 0).unwrap();
    while cursor != 0 {
        let (next, keys) = tenant.scan(cursor, 5, None, 0);
        met.extend(keys);
        cursor = next;
    }
    assert_eq!(met.len(), names.len());
}
