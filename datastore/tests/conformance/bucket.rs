//! Buckets: claims, drops, leases, tenants.

use std::time::Duration;

use turlough_datastore::data::{BucketError, DataStore, GetError, PutError};
use turlough_sdk::{RequestId, ValueRef};

use crate::server::{LONG, Server, bytes, key, request, stored, until};

/// A lease that can be waited for, and that outlasts a few steps of a slow machine.
const SHORT: Duration = Duration::from_secs(2);

async fn put(store: &dyn DataStore, one: RequestId, epoch: u64, name: &str) -> ValueRef {
    let put = store
        .put(one, epoch, &key(one, name), bytes(1, 1_000))
        .await;
    put.unwrap_or_else(|error| panic!("{name} at {epoch}: {error}"))
}

/// A put is refused, and it is said what the bucket has heard of.
async fn is_refused(
    store: &dyn DataStore,
    one: RequestId,
    (epoch, newest): (u64, u64),
    name: &str,
) -> bool {
    let put = store
        .put(one, epoch, &key(one, name), bytes(1, 1_000))
        .await;
    let error = put.expect_err("a put at this epoch is refused");
    let PutError::Stale { newer, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(newer.epoch, newest, "{newer}");
    newer.is_dropped
}

async fn is_there(store: &dyn DataStore, one: RequestId, at: &ValueRef) {
    assert!(store.get(one, stored(at)).await.unwrap() == bytes(1, 1_000));
}

async fn is_lost(store: &dyn DataStore, one: RequestId, at: &ValueRef) {
    let error = store.get(one, stored(at)).await.expect_err("it is gone");
    assert!(matches!(error, GetError::Lost { .. }), "{error}");
}

pub(crate) async fn an_older_epoch_neither_puts_nor_drops_nor_leases<S: Server>() {
    let server = S::start(LONG).await;
    let (older, newer) = (server.open().await, server.open().await);
    let one = request();
    let first = put(&*older, one, 3, "a").await;
    let second = put(&*newer, one, 5, "b").await;
    assert!(!is_refused(&*older, one, (3, 5), "c").await);
    is_refused(&*older, one, (4, 5), "c").await;
    // Not even what is there already.
    is_refused(&*older, one, (4, 5), "a").await;
    let error = older.drop_bucket(one, 4).await.unwrap_err();
    assert!(matches!(error, BucketError::Stale { newer, .. } if newer.epoch == 5));
    let error = older.lease(one, 4, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, BucketError::Stale { newer, .. } if newer.epoch == 5));
    is_there(&*older, one, &first).await;
    is_there(&*older, one, &second).await;
    // A lease is heard of, too.
    assert!(newer.lease(one, 7, LONG).await.unwrap());
    is_refused(&*newer, one, (6, 7), "d").await;
    put(&*newer, one, 7, "d").await;
}

pub(crate) async fn a_drop_takes_all_of_one_request_and_nothing_of_another<S: Server>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let (one, other) = (request(), request());
    let mut mine = Vec::new();
    for n in 0..5 {
        mine.push(put(&*store, one, 1, &format!("{n}/load/0")).await);
    }
    let others = put(&*store, other, 1, "0/load/0").await;
    let dropped = store.drop_bucket(one, 1).await.unwrap();
    assert_eq!(dropped.keys, 5);
    assert!(dropped.bytes >= 5_000, "{dropped:?}");
    for at in &mine {
        is_lost(&*store, one, at).await;
    }
    is_there(&*store, other, &others).await;
    // Once more, as somebody does who had no answer.
    let dropped = store.drop_bucket(one, 1).await.unwrap();
    assert_eq!((dropped.keys, dropped.bytes), (0, 0));
}

pub(crate) async fn after_a_drop_only_a_higher_epoch_puts<S: Server>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let before = put(&*store, one, 4, "a").await;
    store.drop_bucket(one, 5).await.unwrap();
    for epoch in [0, 4, 5] {
        assert!(is_refused(&*store, one, (epoch, 5), "a").await);
    }
    assert!(!store.lease(one, 5, LONG).await.unwrap(), "it is no bucket");
    let after = put(&*store, one, 6, "b").await;
    is_lost(&*store, one, &before).await;
    // A drop that comes late does nothing.
    let error = store.drop_bucket(one, 5).await.unwrap_err();
    assert!(matches!(error, BucketError::Stale { .. }), "{error}");
    is_there(&*store, one, &after).await;
    let dropped = store.drop_bucket(one, 6).await.unwrap();
    assert_eq!(dropped.keys, 1);
}

pub(crate) async fn a_drop_ahead_of_every_put_is_remembered<S: Server>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let dropped = store.drop_bucket(one, 2).await.unwrap();
    assert_eq!((dropped.keys, dropped.bytes), (0, 0));
    assert!(is_refused(&*store, one, (2, 2), "a").await);
    let at = put(&*store, one, 3, "a").await;
    is_there(&*store, one, &at).await;
}

pub(crate) async fn a_put_that_finds_its_value_is_heard_of<S: Server>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let first = put(&*store, one, 1, "a").await;
    assert_eq!(put(&*store, one, 2, "a").await, first);
    is_refused(&*store, one, (1, 2), "b").await;
}

pub(crate) async fn a_bucket_goes_when_its_lease_is_over<S: Server>() {
    let server = S::start(SHORT).await;
    let store = server.open().await;
    let (one, kept) = (request(), request());
    let stays = put(&*store, kept, 1, "a").await;
    assert!(store.lease(kept, 1, LONG).await.unwrap());
    let at = put(&*store, one, 9, "a").await;
    until("the lease is over", async || {
        let found = store.get(one, stored(&at)).await;
        matches!(found, Err(GetError::Lost { .. })).then_some(())
    })
    .await;
    is_there(&*store, kept, &stays).await;
    assert!(!store.lease(one, 9, LONG).await.unwrap(), "it is no bucket");
    // What it knew is gone with it.
    let at = put(&*store, one, 1, "a").await;
    is_there(&*store, one, &at).await;
}

pub(crate) async fn a_lease_is_prolonged_and_ended<S: Server>() {
    // A folder is looked through in an eighth of this.
    let server = S::start(4 * SHORT).await;
    let store = server.open().await;
    let one = request();
    assert!(!store.lease(one, 1, LONG).await.unwrap(), "there is none");
    let at = put(&*store, one, 1, "a").await;
    // The longest and more.
    assert!(store.lease(one, 1, 1_000 * LONG).await.unwrap());
    assert!(store.lease(one, 1, SHORT).await.unwrap());
    assert!(store.lease(one, 1, LONG).await.unwrap());
    tokio::time::sleep(SHORT + SHORT / 4).await;
    is_there(&*store, one, &at).await;
    assert!(store.lease(one, 1, Duration::from_millis(1)).await.unwrap());
    until("its lease was ended", async || {
        store.get(one, stored(&at)).await.is_err().then_some(())
    })
    .await;
    is_lost(&*store, one, &at).await;
}

pub(crate) async fn a_dropped_bucket_forgets_when_its_lease_would_have_ended<S: Server>() {
    let server = S::start(SHORT).await;
    let store = server.open().await;
    let one = request();
    put(&*store, one, 5, "a").await;
    store.drop_bucket(one, 5).await.unwrap();
    is_refused(&*store, one, (5, 5), "b").await;
    until("what was dropped is forgotten", async || {
        let put = store.put(one, 5, &key(one, "c"), bytes(1, 1_000)).await;
        put.is_ok().then_some(())
    })
    .await;
}

pub(crate) async fn tenants_do_not_see_one_another<S: Server>() {
    let server = S::start(LONG).await;
    let (acme, other) = (server.open().await, server.open_as("other").await);
    let one = request();
    let mine = acme.put(one, 7, &key(one, "a"), bytes(1, 1_000)).await;
    let mine = mine.unwrap();
    is_lost(&*other, one, &mine).await;
    let theirs = other.put(one, 1, &key(one, "a"), bytes(2, 500)).await;
    let theirs = theirs.unwrap();
    assert!(other.get(one, stored(&theirs)).await.unwrap() == bytes(2, 500));
    assert_eq!(other.drop_bucket(one, 9).await.unwrap().keys, 1);
    is_there(&*acme, one, &mine).await;
}
