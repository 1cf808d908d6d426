//! What tenants may hold: refused before it is read, set while the store runs.

use std::fs;
use std::time::Duration;

use crate::client::command;
use crate::program::{Store, eventually};

#[test]
fn what_is_over_a_quota_is_refused_before_it_is_sent_and_the_connection_goes_on() {
    let store = Store::with(&["acme", "admin"], &[]);
    let mut admin = store.client_as("admin");
    let set = ["TENANT.SET", "acme", "SOFT", "500000", "HARD", "1000000"];
    assert_eq!(admin.say(&set), "OK");
    let mut acme = store.client_as("acme");
    let value = vec![b'x'; 900_000];
    assert_eq!(acme.call(&[b"SET", b"{r}a", &value]), "OK");
    // It is refused by its length alone.
    acme.send(b"*3\r\n$3\r\nSET\r\n$4\r\n{r}b\r\n$200000\r\n");
    std::thread::sleep(Duration::from_millis(50));
    acme.send(&vec![b'y'; 200_000]);
    acme.send(b"\r\n");
    let refused = acme.reply().unwrap();
    assert!(
        refused.starts_with(
            "(error) QUOTA tenant acme holds 900321 of 1000000 bytes; 200000 more are refused"
        ),
        "{refused}"
    );
    assert_eq!(acme.say(&["GET", "{r}b"]), "(nil)");
    assert_eq!(acme.say(&["STRLEN", "{r}a"]), "900000");
    assert_eq!(
        store.metric("turlough_store_quota_refusals_total{tenant=\"acme\"}"),
        1.0
    );
    assert_eq!(
        store.metric("turlough_store_over_soft_quota{tenant=\"acme\"}"),
        1.0
    );
    assert_eq!(acme.say(&["DEL", "{r}a"]), "1");
    assert_eq!(
        store.metric("turlough_store_over_soft_quota{tenant=\"acme\"}"),
        0.0
    );
    assert_eq!(acme.call(&[b"SET", b"{r}b", &value]), "OK");
    let stat = acme.say(&["TENANT.STAT"]);
    assert!(
        stat.contains("keys, 1") && stat.contains("hard, 1000000"),
        "{stat}"
    );
}

#[test]
fn what_is_in_flight_has_a_bound_of_its_own() {
    let store = Store::with(&["acme", "admin"], &[]);
    let mut admin = store.client_as("admin");
    assert_eq!(admin.say(&["TENANT.SET", "acme", "FLIGHT", "150000"]), "OK");
    let (mut slow, mut acme) = (store.client_as("acme"), store.client_as("acme"));
    slow.send(b"*3\r\n$3\r\nSET\r\n$4\r\n{r}a\r\n$100000\r\n12345");
    eventually("the value is under way", || {
        let stat = acme.say(&["TENANT.STAT"]);
        stat.contains("bytes_in_flight, 100000")
    });
    let value = vec![b'x'; 100_000];
    let refused = acme.call(&[b"SET", b"{r}b", &value]);
    assert!(
        refused.starts_with("(error) QUOTA tenant acme has 100000 of 150000 bytes in flight"),
        "{refused}"
    );
    drop(slow);
    eventually("what was in flight goes with its connection", || {
        acme.call(&[b"SET", b"{r}b", &value]) == "OK"
    });
    assert_eq!(acme.say(&["GET", "{r}a"]), "(nil)");
}

#[test]
fn what_a_slow_reader_still_has_counts_until_it_was_read() {
    let store = Store::with(&["acme", "admin"], &[]);
    let mut admin = store.client_as("admin");
    let hard = [
        "TENANT.SET",
        "acme",
        "HARD",
        "30000000",
        "FLIGHT",
        "30000000",
    ];
    assert_eq!(admin.say(&hard), "OK");
    let (mut slow, mut acme) = (store.client_as("acme"), store.client_as("acme"));
    let value = vec![b'x'; 20_000_000];
    let gone: [&[&[u8]]; 5] = [
        &[b"DEL", b"{r}a"],
        &[b"GETDEL", b"{r}a"],
        &[b"SET", b"{r}a", b"small"],
        &[b"BUCKET.DROP", b"r", b"7"],
        &[b"FLUSHDB"],
    ];
    for gone in gone {
        assert_eq!(acme.say(&["FLUSHDB"]), "OK");
        assert_eq!(acme.call(&[b"SET", b"{r}a", &value]), "OK");
        slow.send(&command(&[b"GET", b"{r}a"]));
        // Once some of it is on its way, the reader has the value.
        slow.peek();
        acme.call(gone);
        let refused = acme.call(&[b"SET", b"b", &value]);
        assert!(
            refused.starts_with("(error) QUOTA tenant acme holds 2000"),
            "{gone:?}: {refused}"
        );
        assert_eq!(slow.reply().unwrap().len(), value.len());
        // The store may learn of it a moment after the reader.
        eventually(&format!("what was read is let go, {gone:?}"), || {
            acme.call(&[b"SET", b"b", &value]) == "OK"
        });
    }
}

#[test]
fn quotas_are_read_from_a_file_and_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.yaml");
    fs::write(&file, "acme: { hard: 1000 }\n").unwrap();
    let store = Store::with(
        &["acme"],
        &[("TURLOUGH_STORE_TENANTS", file.to_str().unwrap())],
    );
    let mut acme = store.client_as("acme");
    let hard = |stat: String| stat.split_once("hard, ").unwrap().1.to_owned();
    assert!(hard(acme.say(&["TENANT.STAT"])).starts_with("1000,"));
    assert!(
        acme.call(&[b"SET", b"a", &[0; 2_000]])
            .starts_with("(error) QUOTA")
    );
    fs::write(&file, "acme: { hard: many }\n").unwrap();
    let line = store.logged("quotas stay as they were");
    assert!(line.contains("holds no quotas"), "{line}");
    fs::write(&file, "acme: { hard: 5000, soft: 4000 }\n").unwrap();
    store.logged("quotas were read anew");
    assert!(hard(acme.say(&["TENANT.STAT"])).starts_with("5000,"));
    assert_eq!(acme.call(&[b"SET", b"a", &[0; 2_000]]), "OK");
    fs::write(&file, "acme: { hard: 5000, soft: 5001 }\n").unwrap();
    let line = store.logged("soft limit of 5001 bytes is over the hard limit of 5000");
    assert!(line.contains("quotas stay as they were"), "{line}");
    // Whom it names no longer has what all others have.
    fs::write(&file, "other: { hard: 7000 }\n").unwrap();
    eventually("acme has the store's limit", || {
        acme.call(&[b"SET", b"b", &[0; 9_000]]) == "OK"
    });
}

#[test]
fn drops_of_what_is_not_there_take_of_a_quota_and_those_of_what_is_never_fail() {
    let store = Store::with(&["acme", "admin"], &[]);
    let (mut admin, mut acme) = (store.client_as("admin"), store.client_as("acme"));
    assert_eq!(admin.say(&["TENANT.SET", "acme", "HARD", "2000"]), "OK");
    assert_eq!(acme.say(&["SET", "{mine}a", "v"]), "OK");
    let dropped = (0..100).filter(|n| {
        let told = acme.say(&["BUCKET.DROP", &format!("none-{n}"), "1"]);
        assert!(
            told.contains("keys, 0") || told.starts_with("(error) QUOTA tenant acme holds"),
            "{told}"
        );
        told.contains("keys, 0")
    });
    assert_eq!(dropped.count(), 6);
    // Once more is no more.
    assert!(
        acme.say(&["BUCKET.DROP", "none-0", "2"])
            .contains("keys, 0")
    );
    assert!(acme.say(&["BUCKET.DROP", "mine", "1"]).contains("keys, 1"));
    let stat = acme.say(&["TENANT.STAT"]);
    assert!(stat.contains("bytes, 1792, keys, 0, buckets, 7"), "{stat}");
}

#[test]
fn limits_that_are_set_fit_one_another() {
    let store = Store::with(&["acme", "admin"], &[]);
    let (mut admin, mut acme) = (store.client_as("admin"), store.client_as("acme"));
    let mut stat = || acme.say(&["TENANT.STAT"]);
    let set = ["TENANT.SET", "acme", "SOFT", "600", "HARD", "1000"];
    assert_eq!(admin.say(&set), "OK");
    let told = admin.say(&["TENANT.SET", "acme", "FLIGHT", "1", "SOFT", "1001"]);
    assert!(
        told.starts_with("(error) ERR soft limit of 1001 bytes is over the hard limit of 1000"),
        "{told}"
    );
    assert!(stat().contains("soft, 600, hard, 1000"), "{}", stat());
    assert!(!stat().contains("flight, 1,"), "{}", stat());
    // A hard limit below the soft one brings its own.
    assert_eq!(admin.say(&["TENANT.SET", "acme", "HARD", "500"]), "OK");
    assert!(stat().contains("soft, 400, hard, 500"), "{}", stat());
    let told = admin.say(&["TENANT.SET", "nobody", "SOFT", "2", "HARD", "1"]);
    assert!(told.starts_with("(error) ERR soft limit"), "{told}");
    assert_eq!(admin.say(&["TENANT.LIST"]), "[acme]");
}

#[test]
fn memory_goes_back_after_many_cycles_of_mixed_sizes() {
    let store = Store::open();
    let mut client = store.client();
    let sizes = [10, 1_000, 5_000, 20_000, 70_000, 300_000];
    let values: Vec<_> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
    let cycle = |client: &mut crate::client::Client, rounds: usize| {
        for round in 0..rounds {
            let mut bytes = Vec::new();
            for n in 0..30 {
                let key = format!("{{r{round}}}{n}");
                bytes.extend(command(&[b"SET", key.as_bytes(), &values[(round + n) % 6]]));
            }
            bytes.extend(command(&[
                b"BUCKET.DROP",
                format!("r{round}").as_bytes(),
                b"1",
            ]));
            client.send(&bytes);
            for _ in 0..31 {
                client.reply().unwrap();
            }
        }
    };
    cycle(&mut client, 50);
    assert_eq!(client.say(&["FLUSHDB"]), "OK");
    std::thread::sleep(Duration::from_secs(3));
    let before = store.resident_bytes();
    cycle(&mut client, 400);
    assert_eq!(client.say(&["FLUSHDB"]), "OK");
    let bound = before + before / 10 + (8 << 20);
    let went_back = (0..120).any(|_| {
        std::thread::sleep(Duration::from_millis(500));
        store.resident_bytes() <= bound
    });
    assert!(
        went_back,
        "{before} before, {} after",
        store.resident_bytes()
    );
}
