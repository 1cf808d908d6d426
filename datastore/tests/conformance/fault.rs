//! What goes wrong, and how it is told.

use std::time::{Duration, Instant};

use turlough_datastore::data::{BucketError, Failure, GetError, PutError};

use crate::server::{
    ComesBackEmpty, GoesAway, HasLimit, IsOpen, LONG, bytes, key, request, stored, until,
};

/// In what time anything is answered.
pub(crate) const IN_TIME: Duration = Duration::from_secs(25);

pub(crate) async fn changed_bytes_are_found<S: IsOpen>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let at = store.put(one, 1, &key(one, "a"), bytes(1, 10_000)).await;
    let at = at.unwrap();
    store.get(one, stored(&at)).await.unwrap();
    server.change(one, &at).await;
    let error = store.get(one, stored(&at)).await.unwrap_err();
    assert!(matches!(error, GetError::Corrupt { .. }), "{error}");
}

pub(crate) async fn a_full_store_refuses_and_takes_again<S: HasLimit>() {
    let server = S::start_small().await;
    let store = server.open().await;
    let (one, other) = (request(), request());
    let first = store.put(one, 1, &key(one, "a"), bytes(1, 1_000_000)).await;
    let first = first.unwrap();
    server.limit().await;
    let error = store
        .put(other, 1, &key(other, "a"), bytes(2, 1_000_000))
        .await
        .unwrap_err();
    assert!(matches!(error, PutError::Full { .. }), "{error}");
    assert!(error.passes());
    assert!(store.get(one, stored(&first)).await.unwrap() == bytes(1, 1_000_000));
    // What makes room is done.
    assert!(store.lease(one, 2, LONG).await.unwrap());
    assert_eq!(store.drop_bucket(one, 3).await.unwrap().keys, 1);
    until("there is room again", async || {
        let key = key(other, "a");
        // A server may need several times that while it is put.
        let put = store.put(other, 1, &key, bytes(2, 200_000)).await;
        put.is_ok().then_some(())
    })
    .await;
    let error = store.put(one, 3, &key(one, "b"), bytes(1, 1)).await;
    assert!(matches!(error, Err(PutError::Stale { .. })), "{error:?}");
}

pub(crate) async fn a_store_that_came_back_empty_says_lost<S: ComesBackEmpty>() {
    let mut server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let before = store.put(one, 4, &key(one, "a"), bytes(1, 1_000)).await;
    let before = before.unwrap();
    server.go().await;
    server.come_back_empty().await;
    let mut lost = None;
    until("it answers again", async || {
        match store.get(one, stored(&before)).await {
            Err(GetError::Failed(Failure::Unavailable { .. })) => None,
            found => {
                lost = Some(found);
                Some(())
            }
        }
    })
    .await;
    assert!(matches!(lost, Some(Err(GetError::Lost { .. }))), "{lost:?}");
    // Not even what was made anew under the same key, by other bytes of the same number.
    let after = store.put(one, 1, &key(one, "a"), bytes(2, 1_000)).await;
    let after = after.unwrap();
    let found = store.get(one, stored(&before)).await;
    assert!(
        matches!(found, Err(GetError::Lost { .. } | GetError::Corrupt { .. })),
        "{found:?}"
    );
    assert!(store.get(one, stored(&after)).await.unwrap() == bytes(2, 1_000));
}

pub(crate) async fn a_store_that_is_away_is_told_of_and_used_again<S: GoesAway>() {
    let mut server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let at = store.put(one, 1, &key(one, "a"), bytes(1, 1_000)).await;
    let at = at.unwrap();
    server.go().await;
    for size in [1_000, 100_000] {
        let began = Instant::now();
        let put = store.put(one, 1, &key(one, "b"), bytes(1, size)).await;
        let is_away = matches!(&put, Err(PutError::Failed(Failure::Unavailable { .. })));
        assert!(is_away && began.elapsed() < IN_TIME, "{put:?}");
        assert!(put.unwrap_err().passes());
    }
    let began = Instant::now();
    let got = store.get(one, stored(&at)).await;
    let is_away = matches!(&got, Err(GetError::Failed(Failure::Unavailable { .. })));
    assert!(is_away && began.elapsed() < IN_TIME, "{got:?}");
    let dropped = store.drop_bucket(one, 1).await;
    let is_away = matches!(
        &dropped,
        Err(BucketError::Failed(Failure::Unavailable { .. }))
    );
    assert!(is_away, "{dropped:?}");
    server.come_back().await;
    until("it is used again", async || {
        let put = store.put(one, 1, &key(one, "c"), bytes(1, 1_000)).await;
        put.is_ok().then_some(())
    })
    .await;
    let large = store.put(one, 1, &key(one, "d"), bytes(1, 100_000)).await;
    let large = large.unwrap();
    assert!(store.get(one, stored(&large)).await.unwrap() == bytes(1, 100_000));
}
