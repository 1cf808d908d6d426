//! Requests' buckets, leases, keeping, references, and waits for values.

use crate::program::{Store, eventually};

#[test]
fn a_bucket_is_dropped_at_once_with_an_account_of_what_it_held() {
    let store = Store::open();
    let mut client = store.client();
    assert_eq!(client.say(&["SET", "{r1}a", "12345", "EPOCH", "3"]), "OK");
    assert_eq!(client.say(&["SET", "{r1}b", "1", "NX"]), "OK");
    assert_eq!(client.say(&["SET", "{r1}b", "2", "NX"]), "(nil)");
    assert_eq!(client.say(&["SET", "{r2}a", "1"]), "OK");
    let stat = client.say(&["BUCKET.STAT", "r1"]);
    assert!(
        stat.starts_with("[keys, 2, bytes, 136, bytes_peak, 136, byte_ms, "),
        "{stat}"
    );
    assert!(stat.contains("epoch, 3"), "{stat}");
    assert_eq!(
        client
            .say(&["BUCKET.LIST", "0", "COUNT", "100"])
            .matches('r')
            .count(),
        2
    );
    let late = client.say(&["BUCKET.DROP", "r1", "2"]);
    assert_eq!(
        late,
        "(error) EPOCH bucket r1 is at epoch 3, this came at 2"
    );
    let dropped = client.say(&["BUCKET.DROP", "r1", "3"]);
    assert!(
        dropped.starts_with("[keys, 2, bytes, 136, bytes_peak, 136, byte_ms, "),
        "{dropped}"
    );
    assert_eq!(client.say(&["GET", "{r1}a"]), "(nil)");
    assert_eq!(client.say(&["BUCKET.STAT", "r1"]), "(nil)");
    let late = client.say(&["SET", "{r1}a", "1", "EPOCH", "3"]);
    assert!(
        late.starts_with("(error) EPOCH bucket r1 was dropped at epoch 3"),
        "{late}"
    );
    assert!(
        client
            .say(&["MSET", "{r2}b", "1", "{r1}a", "1"])
            .starts_with("(error) EPOCH")
    );
    assert_eq!(
        client.say(&["GET", "{r2}b"]),
        "(nil)",
        "nothing of it was put"
    );
    assert_eq!(client.say(&["SET", "{r1}a", "1", "EPOCH", "4"]), "OK");
    assert_eq!(client.say(&["GET", "{r2}a"]), "1");
}

#[test]
fn a_put_that_finds_something_is_heard_of_by_its_bucket_all_the_same() {
    let store = Store::open();
    let mut client = store.client();
    assert_eq!(client.say(&["SET", "{r}a", "1", "NX", "EPOCH", "3"]), "OK");
    let stale = client.say(&["SET", "{r}a", "1", "NX", "EPOCH", "2"]);
    assert_eq!(
        stale,
        "(error) EPOCH bucket r is at epoch 3, this came at 2"
    );
    assert_eq!(
        client.say(&["SET", "{r}a", "1", "NX", "EPOCH", "5"]),
        "(nil)"
    );
    let stale = client.say(&["SET", "{r}b", "1", "EPOCH", "4"]);
    assert_eq!(
        stale,
        "(error) EPOCH bucket r is at epoch 5, this came at 4"
    );
    // What is not there is not made by it.
    assert_eq!(
        client.say(&["SET", "{other}a", "1", "XX", "EPOCH", "2"]),
        "(nil)"
    );
    assert_eq!(client.say(&["BUCKET.STAT", "other"]), "(nil)");
}

#[test]
fn a_bucket_goes_with_its_lease_but_for_what_is_kept() {
    let store = Store::with(&[], &[("TURLOUGH_STORE_LEASE", "300ms")]);
    let mut client = store.client();
    for key in ["{r}a", "{r}kept", "{longer}a", "plain"] {
        assert_eq!(client.say(&["SET", key, "1"]), "OK");
    }
    assert_eq!(client.say(&["KEEP", "{r}kept", "60000"]), "1");
    assert_eq!(client.say(&["BUCKET.LEASE", "longer", "0", "60000"]), "1");
    assert_eq!(client.say(&["BUCKET.LEASE", "none", "0", "60000"]), "0");
    eventually("its lease is over", || {
        client.say(&["GET", "{r}a"]) == "(nil)"
    });
    assert_eq!(
        client.say(&["MGET", "{r}kept", "{longer}a", "plain"]),
        "[1, 1, 1]"
    );
    let long = client.say(&["BUCKET.LEASE", "longer", "0", "99999999999"]);
    assert_eq!(
        long,
        "(error) ERR lease is 99999999999 ms, limit 2592000000"
    );
}

#[test]
fn a_reference_says_where_a_value_lies_and_what_it_is() {
    let store = Store::with(&[], &[("TURLOUGH_STORE_ADDRESS", "store-1:7700")]);
    let mut client = store.client();
    let value = "x".repeat(100_000);
    for (key, value) in [("{r}small", "abc"), ("{r}large", value.as_str())] {
        assert_eq!(client.say(&["SET", key, value]), "OK");
        let reference = client.say(&["BUCKET.REF", key]);
        let digest = turlough_sdk::Digest::of(value.as_bytes()).to_string();
        assert!(
            reference.starts_with("[store, store-1:7700, boot, "),
            "{reference}"
        );
        assert!(
            reference.contains(&format!("digest, {digest}")),
            "{reference}"
        );
        assert!(
            reference.contains(&format!("size, {}", value.len())),
            "{reference}"
        );
    }
    assert_eq!(client.say(&["BUCKET.REF", "{r}none"]), "(nil)");
    let info = client.say(&["INFO"]);
    assert!(info.contains("turlough_address:store-1:7700"), "{info}");
}

#[test]
fn whoever_waits_for_a_value_has_it_once_it_is_put_or_goes_without() {
    let store = Store::open();
    let (mut waiting, mut other) = (store.client(), store.client());
    assert_eq!(waiting.say(&["BLOCK.GET", "{r}a", "50"]), "(nil)");
    waiting.send(b"*3\r\n$9\r\nBLOCK.GET\r\n$4\r\n{r}a\r\n$5\r\n60000\r\nPING\r\n");
    // Others are not kept from anything, and a second one waits, too.
    let mut second = store.client();
    second.send(b"BLOCK.GET {r}a 60000\r\n");
    assert_eq!(other.say(&["SET", "{r}b", "no"]), "OK");
    assert_eq!(other.say(&["SET", "{r}a", "yes"]), "OK");
    assert_eq!(waiting.reply().unwrap(), "yes");
    assert_eq!(waiting.reply().unwrap(), "PONG");
    assert_eq!(second.reply().unwrap(), "yes");
}
