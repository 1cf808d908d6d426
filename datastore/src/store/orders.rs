//! Threads on one store, in many orders: what is counted is what is there, and what is read is whole.
//! `cargo test -p turlough-datastore --features shuttle --lib orders`

use std::sync::Arc;

use shuttle::{check_random, thread};

use super::*;

/// Orders that are tried; `TURLOUGH_ORDERS` says otherwise.
const ORDERS: usize = 2_000;

const QUOTA: Quota = Quota {
    soft: 1 << 20,
    hard: 1 << 20,
    flight: 1 << 20,
};

fn orders() -> usize {
    let said = std::env::var("TURLOUGH_ORDERS").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(ORDERS)
}

fn store() -> Store {
    Store::new(Bounds {
        bytes_max: 1 << 20,
        lease_ms: 1_000,
        quota: QUOTA,
    })
}

/// A value that tells who made it, small or large.
fn made(store: &Store, who: u8, is_large: bool) -> Made {
    let len = if is_large { SMALL_MAX + 4_000 } else { 100 };
    Made::new(store.pool(), vec![who; len])
}

fn is_whole(held: Held<'_>) -> bool {
    let mut all = Vec::new();
    held.copy_to(&mut all).unwrap();
    all.iter().all(|byte| *byte == all[0])
}

/// What the tenant's quota counts is what its buckets hold, and nothing that went is left in the pool.
fn settled(store: &Store, tenant: &Arc<Tenant>) {
    let (mut bytes, mut keys, mut buckets) = (0, 0, 0);
    for shard in tenant.shards() {
        buckets += shard.buckets.len() as u64;
        for bucket in shard.buckets.values() {
            let items = bucket.items();
            keys += items.len() as u64;
            bytes += items.iter().map(Item::cost).sum::<u64>();
        }
    }
    let usage = tenant.usage(10_000);
    assert_eq!((usage.keys, usage.buckets), (keys, buckets));
    assert_eq!(usage.bytes, bytes + buckets * 256);
    assert_eq!(store.held().0, usage.bytes);
    tenant.flush(10_000);
    assert_eq!((store.held().0, store.pool().used_bytes()), (0, 0));
}

/// What one thread does, told by its number.
fn act(store: &Store, tenant: &Arc<Tenant>, who: u8) {
    let name = format!("{{r{}}}a", who % 2);
    let key = Key::parse(name.as_bytes()).unwrap();
    for turn in 0..2_u8 {
        let value = made(store, who, (who + turn) % 2 == 0);
        let how = Put {
            epoch: Some(u64::from(turn)),
            ..Put::default()
        };
        // A bucket that was dropped refuses; that is its right.
        tenant.put(&key, value.lent(), None, how, 1, |_| {}).ok();
        drop(value);
        let read = tenant.read(&key, 1);
        match who % 4 {
            0 => drop(tenant.take(&key, 1)),
            1 => drop(tenant.drop_bucket(key.bucket, 0, 1)),
            2 => drop(tenant.keep(&key, 5_000, 1)),
            _ => tenant.sweep(2_000),
        }
        // Whatever happened to it meanwhile.
        if let Some((read, _)) = read {
            assert!(is_whole(read.held()));
        }
    }
}

#[test]
fn whatever_the_order_what_is_counted_is_there() {
    let run = || {
        let store = Arc::new(store());
        let tenant = store.tenant("acme", 0);
        let threads: Vec<_> = (0..4)
            .map(|who| {
                let (store, tenant) = (Arc::clone(&store), Arc::clone(&tenant));
                thread::spawn(move || act(&store, &tenant, who))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        settled(&store, &tenant);
    };
    check_random(run, orders());
}

#[test]
fn extents_have_one_owner_in_every_order() {
    let run = || {
        let pool = Arc::new(Pool::default());
        let threads: Vec<_> = (0..3_u8)
            .map(|who| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    for bytes in [4_096, 16_384, 4_096] {
                        let mut extent = pool.take(bytes).unwrap();
                        extent.bytes_mut().fill(who);
                        pool.trim();
                        assert!(extent.bytes().iter().all(|byte| *byte == who));
                        pool.release([extent]);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(pool.used_bytes(), 0);
    };
    check_random(run, orders() / 10);
}

#[test]
fn in_every_order_one_puts_what_is_not_there_and_one_has_what_is_taken() {
    let run = || {
        let store = Arc::new(store());
        let tenant = store.tenant("acme", 0);
        let threads: Vec<_> = (0..3_u8)
            .map(|who| {
                let (store, tenant) = (Arc::clone(&store), Arc::clone(&tenant));
                thread::spawn(move || put_and_take(&store, &tenant, who))
            })
            .collect();
        let (mut put, mut had) = (Vec::new(), Vec::new());
        for thread in threads {
            let (put_here, had_here) = thread.join().unwrap();
            put.extend(put_here);
            had.extend(had_here);
        }
        let left = tenant.take(&Key::parse(b"{r}a").unwrap(), 1);
        had.extend(left.map(|item| first(item.value())));
        put.sort_unstable();
        had.sort_unstable();
        assert_eq!(put, had);
    };
    check_random(run, orders());
}

/// What a thread put, and what it then had; of what it put over and was told of, too.
fn put_and_take(store: &Store, tenant: &Arc<Tenant>, who: u8) -> (Vec<u8>, Vec<u8>) {
    let key = Key::parse(b"{r}a").unwrap();
    let (mut put, mut had) = (Vec::new(), Vec::new());
    for (turn, only) in [Only::Absent, Only::Present].into_iter().enumerate() {
        let number = who * 2 + turn as u8;
        let value = made(store, number, who == 0);
        let how = Put {
            only,
            ..Put::default()
        };
        let mut old = None;
        let look = |item: Option<&Item>| old = item.map(|item| first(item.value()));
        if tenant.put(&key, value.lent(), None, how, 1, look).unwrap() {
            put.push(number);
            had.extend(old);
        }
        if who != 1 {
            had.extend(tenant.take(&key, 1).map(|item| first(item.value())));
        }
    }
    (put, had)
}

fn first(held: Held<'_>) -> u8 {
    let mut all = Vec::new();
    held.copy_to(&mut all).unwrap();
    all[0]
}
