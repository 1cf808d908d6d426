//! Several stores: values by reference, and copies of them.

use std::io;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use crate::client::{Client, command};
use crate::program::{Store, eventually};

/// A store that gives copies to others.
fn beside(others: &[&Store], settings: &[(&str, &str)]) -> Store {
    let names: Vec<_> = others.iter().map(|store| store.address()).collect();
    let names = names.join(",");
    let mut all = vec![("TURLOUGH_STORE_PEERS", names.as_str())];
    all.extend(settings);
    Store::with(&["acme", "other"], &all)
}

fn alone() -> Store {
    beside(&[], &[])
}

/// A place for a store that others have to know before it is there.
fn place() -> String {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    held.local_addr().unwrap().to_string()
}

/// A store at a place.
fn at(place: &str, peers: &str) -> Store {
    let (_, port) = place.rsplit_once(':').unwrap();
    let settings = [
        ("TURLOUGH_STORE_PORT", port),
        ("TURLOUGH_STORE_PEERS", peers),
    ];
    Store::with(&["acme", "other"], &settings)
}

/// A field of what `BUCKET.REF` says.
fn field(client: &mut Client, key: &str, name: &str) -> String {
    client.field(&["BUCKET.REF", key], name)
}

#[test]
fn a_value_is_read_at_any_store_by_its_reference() {
    let owner = alone();
    let near = beside(&[&owner], &[]);
    let (mut at, mut here) = (owner.client_as("acme"), near.client_as("acme"));
    for (key, len) in [("{r}small", 10), ("{r}a b/ü", 3_000_000), ("plain", 70_000)] {
        let value = "v".repeat(len);
        assert_eq!(at.say(&["SET", key, &value]), "OK");
        let reference = field(&mut at, key, "reference");
        for client in [&mut at, &mut here] {
            assert_eq!(client.say(&["REF.GET", &reference]), value, "{key}");
        }
        // Of another tenant it is not there.
        let told = near.client_as("other").say(&["REF.GET", &reference]);
        assert!(told.starts_with("(error) LOST value turlough://"), "{told}");
        // What was put in its place is another value.
        assert_eq!(at.say(&["SET", key, &"w".repeat(len)]), "OK");
        for client in [&mut at, &mut here] {
            let told = client.say(&["REF.GET", &reference]);
            assert!(told.starts_with("(error) LOST value turlough://"), "{told}");
        }
        assert!(here.say(&["REF.GET", &reference]).contains("another value"));
    }
    let reference = field(&mut at, "{r}small", "reference");
    assert_eq!(at.say(&["DEL", "{r}small"]), "1");
    let told = here.say(&["REF.GET", &reference]);
    assert!(told.contains("does not hold it"), "{told}");
    let told = here.say(&["REF.GET", "turlough://nowhere"]);
    assert!(told.starts_with("(error) ERR reference"), "{told}");
    assert_eq!(near.metric("turlough_store_fetched_total"), 3.0);
    assert_eq!(
        here.say(&["TENANT.STAT"])
            .matches("bytes_in_flight, 0")
            .count(),
        1
    );
}

/// Whoever a store speaks to for a tenant learns the tenant's password.
#[test]
fn nobody_is_spoken_to_whom_a_reference_alone_names() {
    let strange = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = strange.local_addr().unwrap();
    let (owner, other) = (alone(), alone());
    let near = beside(&[&other], &[]);
    let mut at = owner.client_as("acme");
    assert_eq!(at.say(&["SET", "{r}a", "v"]), "OK");
    let reference = field(&mut at, "{r}a", "reference");
    let mut here = near.client_as("acme");
    let elsewhere = reference.replace(owner.address(), &named.to_string());
    for reference in [
        reference.clone(),
        elsewhere.clone(),
        format!("{reference}&backup={named}"),
        format!("{elsewhere}&backup={named}"),
    ] {
        let told = here.say(&["REF.GET", &reference]);
        assert!(told.starts_with("(error) LOST"), "{told}");
        assert!(
            told.contains("none of those that TURLOUGH_STORE_PEERS"),
            "{told}"
        );
    }
    strange.set_nonblocking(true).unwrap();
    let called = strange.accept().map(drop).unwrap_err();
    assert_eq!(called.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_store_gives_no_copy_to_itself_under_another_name() {
    let there = place();
    let (_, port) = there.rsplit_once(':').unwrap();
    let store = at(&there, &format!("localhost:{port}"));
    let mut client = store.client_as("acme");
    eventually("it has found out who that is", || {
        let told = client.say(&["SET", "{r}a", "v", "BACKUP", "sync"]);
        told.starts_with("(error) NOBACKUP")
    });
}

#[test]
fn stores_that_a_name_resolves_to_are_given_copies_and_asked_for_them() {
    let backup = alone();
    // There may be two addresses, of which nobody listens on one.
    let name = format!("dns:localhost:{}", backup.port());
    let settings = [("TURLOUGH_STORE_PEERS", &*name)];
    let owner = Store::with(&["acme"], &settings);
    let near = Store::with(&["acme"], &settings);
    let mut at = owner.client_as("acme");
    let value = "v".repeat(100_000);
    eventually("it has a copy", || {
        at.say(&["SET", "{r}a", &value, "BACKUP", "SYNC"]) == "OK"
    });
    assert!(owner.logged("other stores").contains("name=localhost:"));
    assert!(owner.metric("turlough_store_peers ") >= 1.0);
    assert_eq!(field(&mut at, "{r}a", "backup"), backup.address());
    assert_eq!(backup.client_as("acme").say(&["DBSIZE"]), "1");
    let reference = field(&mut at, "{r}a", "reference");
    drop(owner);
    let mut here = near.client_as("acme");
    eventually("the copy is found", || {
        here.say(&["REF.GET", &reference]) == value
    });
    assert_eq!(near.metric("turlough_store_saved_total"), 1.0);
}

#[test]
fn a_store_that_finds_itself_by_a_name_gives_itself_no_copy() {
    let there = place();
    let (_, port) = there.rsplit_once(':').unwrap();
    let store = at(&there, &format!("dns:localhost:{port}"));
    let mut client = store.client_as("acme");
    for n in 0..30 {
        let key = format!("{{r{n}}}a");
        let told = client.say(&["SET", &key, "v", "BACKUP", "SYNC"]);
        assert!(told.starts_with("(error) NOBACKUP"), "{told}");
        // A name is resolved behind the start.
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_copy_that_was_waited_for_outlives_its_store_and_others_are_lost() {
    let backup = alone();
    let there = place();
    let owner = self::at(&there, backup.address());
    let near = self::at(&place(), &format!("{there},{}", backup.address()));
    let (mut at, mut here) = (owner.client_as("acme"), near.client_as("acme"));
    let mut kept = Vec::new();
    for (n, len) in [5, 16_384, 16_385, 2_000_000].into_iter().enumerate() {
        let (key, value) = (format!("{{r}}{n}"), "k".repeat(len));
        assert_eq!(
            at.say(&["SET", &key, &value, "NX", "EPOCH", "3", "BACKUP", "SYNC"]),
            "OK"
        );
        assert_eq!(field(&mut at, &key, "backup"), backup.address());
        kept.push((field(&mut at, &key, "reference"), value));
    }
    assert_eq!(
        at.say(&["SET", "{r}0", "other", "NX", "BACKUP", "SYNC"]),
        "(nil)"
    );
    assert_eq!(at.say(&["SET", "{r}none", "single"]), "OK");
    let single = field(&mut at, "{r}none", "reference");
    // The copy is no key of the backup's own.
    assert_eq!(backup.client_as("acme").say(&["GET", "{r}0"]), "(nil)");
    drop(owner);
    let mut there = backup.client_as("acme");
    for (reference, value) in &kept {
        for client in [&mut here, &mut there] {
            assert!(client.say(&["REF.GET", reference]) == *value, "{reference}");
        }
    }
    // Whoever is not told where the copy lies asks those that its owner would have chosen.
    let far = beside(&[&backup, &near], &[]);
    let (reference, value) = &kept[3];
    let (reference, _) = reference.split_once("&backup").unwrap();
    assert!(far.client_as("acme").say(&["REF.GET", reference]) == *value);
    let mut told = here.say(&["REF.GET", &single]);
    assert!(told.starts_with("(error) BUSY"), "it may come back: {told}");
    eventually("it is given up", || {
        told = here.say(&["REF.GET", &single]);
        told.starts_with("(error) LOST")
    });
    assert!(told.contains("does not answer"), "{told}");
    assert_eq!(near.metric("turlough_store_saved_total"), 4.0);
    assert_eq!(near.metric("turlough_store_lost_total"), 1.0);
}

#[test]
fn a_tenant_whose_password_a_store_does_not_know_is_refused_there_alone() {
    let peer = Store::with(&["other"], &[]);
    let near = beside(&[&peer], &[]);
    let (mut acme, mut other) = (near.client_as("acme"), near.client_as("other"));
    for n in 0..2 {
        let key = format!("{{r}}{n}");
        let told = acme.say(&["SET", &key, "v", "BACKUP", "SYNC"]);
        assert!(told.starts_with("(error) NOBACKUP"), "{told}");
        assert_eq!(other.say(&["SET", &key, "v", "BACKUP", "SYNC"]), "OK");
    }
}

#[test]
fn an_owner_that_came_back_empty_is_known_by_its_boot() {
    let backup = alone();
    let owner = beside(&[&backup], &[]);
    let port = owner.port().to_owned();
    let mut at = owner.client_as("acme");
    assert_eq!(at.say(&["SET", "{r}a", "copied", "BACKUP", "SYNC"]), "OK");
    assert_eq!(at.say(&["SET", "{r}b", "single"]), "OK");
    let (copied, single) = (
        field(&mut at, "{r}a", "reference"),
        field(&mut at, "{r}b", "reference"),
    );
    let boot = field(&mut at, "{r}a", "boot");
    drop((at, owner));
    let again = beside(&[&backup], &[("TURLOUGH_STORE_PORT", &port)]);
    let mut at = again.client_as("acme");
    assert_eq!(at.say(&["REF.GET", &copied]), "copied");
    let told = at.say(&["REF.GET", &single]);
    assert!(
        told.contains("LOST") && told.contains("came back without it"),
        "{told}"
    );
    assert_eq!(at.say(&["SET", "{r}b", "single"]), "OK");
    assert_ne!(field(&mut at, "{r}b", "boot"), boot);
    // It is the same value; but whoever asks for that life of the store is told the truth.
    assert!(at.say(&["REF.GET", &single]).starts_with("(error) LOST"));
}

#[test]
fn copies_follow_their_bucket() {
    let backup = alone();
    let owner = beside(&[&backup], &[("TURLOUGH_STORE_BACKUP", "async")]);
    let (mut at, mut there) = (owner.client_as("acme"), backup.client_as("acme"));
    assert_eq!(at.say(&["SET", "{r}first", "x", "BACKUP", "NONE"]), "OK");
    assert_eq!(at.say(&["BUCKET.LEASE", "r", "0", "86400000"]), "1");
    for n in 0..50 {
        assert_eq!(
            at.say(&["SET", &format!("{{r}}{n}"), &"v".repeat(n * 1_000)]),
            "OK"
        );
    }
    // Neither what is in no bucket, nor what says so, has a copy.
    assert_eq!(at.say(&["SET", "plain", "v"]), "OK");
    assert_eq!(at.say(&["SET", "{s}a", "v", "BACKUP", "NONE"]), "OK");
    eventually("all is copied", || there.say(&["DBSIZE"]) == "50");
    let bucket = format!("~{}/r", field(&mut at, "{r}first", "boot"));
    let listed = there.say(&["BUCKET.LIST", "0", "COUNT", "100"]);
    assert_eq!(listed, format!("[0, [{bucket}]]"));
    let lease = |said: String| -> u64 {
        let (_, rest) = said.split_once("lease_ms, ").unwrap();
        rest.trim_end_matches(']').parse().unwrap()
    };
    eventually("the lease is that of the bucket", || {
        lease(there.say(&["BUCKET.STAT", &bucket])) > 80_000_000
    });
    assert_eq!(at.say(&["BUCKET.LEASE", "r", "0", "259200000"]), "1");
    eventually("a longer lease is told", || {
        lease(there.say(&["BUCKET.STAT", &bucket])) > 250_000_000
    });
    // One that was overwritten without a copy has none.
    assert_eq!(at.say(&["SET", "{r}1", "w", "BACKUP", "NONE"]), "OK");
    assert_eq!(field(&mut at, "{r}1", "backup"), "(nil)");
    assert_eq!(at.say(&["APPEND", "{r}2", "w"]), "2001");
    assert_eq!(field(&mut at, "{r}2", "backup"), "(nil)");
    at.say(&["BUCKET.DROP", "r", "7"]);
    eventually("the copies go with the bucket", || {
        there.say(&["DBSIZE"]) == "0"
    });
    assert_eq!(owner.metric("turlough_store_copies_total"), 50.0);
    assert_eq!(owner.metric("turlough_store_copies_failed_total"), 0.0);
}

#[test]
fn a_put_whose_copy_nobody_takes_is_not_done() {
    let owner = beside(&[], &[]);
    let mut at = owner.client_as("acme");
    for set in [
        &["SET", "{r}a", "v", "BACKUP", "SYNC"][..],
        &["SET", "{r}a", &"v".repeat(100_000), "BACKUP", "SYNC"],
    ] {
        let told = at.say(set);
        assert!(
            told.starts_with("(error) NOBACKUP") && told.contains("TURLOUGH_STORE_PEERS"),
            "{told}"
        );
    }
    assert_eq!(at.say(&["GET", "{r}a"]), "(nil)");
    assert_eq!(at.say(&["SET", "{r}a", "v", "BACKUP", "ASYNC"]), "OK");
    assert_eq!(field(&mut at, "{r}a", "backup"), "(nil)");
    let told = at.say(&["SET", "plain", "v", "BACKUP", "SYNC"]);
    assert!(told.contains("lies in none"), "{told}");
    let long = format!("{{r}}{}", "k".repeat(500));
    let told = at.say(&["SET", &long, "v", "BACKUP", "SYNC"]);
    assert!(told.contains("key is 503 bytes, limit 494"), "{told}");
    assert_eq!(
        at.say(&["SET", "{r}b", "v", "BACKUP", "TWICE"]),
        "(error) ERR syntax error"
    );
    let stat = at.say(&["TENANT.STAT"]);
    assert!(stat.contains("keys, 1, "), "{stat}");

    let gone = alone();
    let owner = beside(&[&gone], &[]);
    drop(gone);
    let mut at = owner.client_as("acme");
    let told = at.say(&["SET", "{r}a", "v", "BACKUP", "SYNC"]);
    assert!(
        told.starts_with("(error) NOBACKUP") && told.contains("does not answer"),
        "{told}"
    );
    // It is not asked again at once.
    let told = at.say(&["SET", "{r}a", "v", "BACKUP", "SYNC"]);
    assert!(
        told.contains("none of the 1 other stores answers"),
        "{told}"
    );
    assert_eq!(at.say(&["GET", "{r}a"]), "(nil)");

    let full = Store::with(&["acme"], &[("TURLOUGH_STORE_TENANT_BYTES_MAX", "1000")]);
    let owner = beside(&[&full], &[]);
    let told = owner
        .client_as("acme")
        .say(&["SET", "{r}a", &"v".repeat(2_000), "BACKUP", "SYNC"]);
    assert!(
        told.starts_with("(error) NOBACKUP")
            && told.contains("QUOTA value is 2065 bytes, limit 1000"),
        "{told}"
    );
}

#[test]
fn who_shuts_down_hands_over_what_is_not_copied_yet_and_opens_no_bucket() {
    let backup = alone();
    let owner = beside(&[&backup], &[("TURLOUGH_STORE_BACKUP", "async")]);
    let mut at = owner.client_as("acme");
    let value = vec![b'v'; 200_000];
    let mut all = Vec::new();
    for n in 0..300 {
        all.extend(command(&[b"SET", format!("{{r}}{n}").as_bytes(), &value]));
    }
    at.send(&all);
    for _ in 0..300 {
        assert_eq!(at.reply().unwrap(), "OK");
    }
    owner.tell_to_end();
    eventually("it is not ready any more", || {
        owner.get("/_/ready").contains("shutting down")
    });
    let told = at.say(&["SET", "{new}a", "v"]);
    assert!(told.starts_with("(error) CLOSING"), "{told}");
    assert_eq!(at.say(&["SET", "{r}more", "v"]), "OK");
    drop(at);
    assert!(owner.end());
    assert_eq!(backup.client_as("acme").say(&["DBSIZE"]), "301");
}

#[test]
fn stores_speak_tls_to_one_another_where_they_are_told_whom_to_trust() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = [
        ("TURLOUGH_STORE_TLS_CERT", &*cert),
        ("TURLOUGH_STORE_TLS_KEY", &*key),
    ];
    let backup = Store::with(&["acme"], &tls);
    let peers = format!("localhost:{}", backup.port());
    let settings = [
        ("TURLOUGH_STORE_PEERS", &*peers),
        ("TURLOUGH_STORE_PEERS_CA", &*cert),
    ];
    let owner = Store::with(&["acme"], &settings);
    let mut at = owner.client_as("acme");
    // Which stores there are is looked up beside the first commands.
    let mut is_kept = || at.say(&["SET", "{r}a", "v", "BACKUP", "SYNC"]) == "OK";
    eventually("the backup is known", &mut is_kept);
    let blind = Store::with(&["acme"], &settings[..1]);
    let told = blind
        .client_as("acme")
        .say(&["SET", "{r}a", "v", "BACKUP", "SYNC"]);
    assert!(told.starts_with("(error) NOBACKUP"), "{told}");
}

#[test]
fn a_list_of_stores_that_is_none_is_refused_at_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_turlough-datastore"))
        .env("TURLOUGH_STORE_PEERS", "redis://a:1")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("write host:port"),
        "{told}"
    );
}

#[test]
fn what_is_said_of_a_bucket_is_passed_on_to_a_store_that_is_known_and_to_no_other() {
    let owner = alone();
    let near = beside(&[&owner], &[]);
    let (mut at, mut here) = (owner.client_as("acme"), near.client_as("acme"));
    assert_eq!(at.say(&["SET", "{r}a", "v", "EPOCH", "3"]), "OK");
    let place = owner.address().to_owned();
    let lease = |epoch: &str| {
        let words = ["BUCKET.LEASE", "r", epoch, "100000", "AT", &place];
        words.map(str::to_owned)
    };
    let mut said = |words: &[String]| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        here.say(&words)
    };
    assert_eq!(said(&lease("3")), "OK");
    let stat = at.say(&["BUCKET.STAT", "r"]);
    let left = stat.rsplit_once("lease_ms, ").unwrap().1;
    let left: u64 = left.trim_end_matches(']').parse().unwrap();
    assert!((90_000..=100_000).contains(&left), "{stat}");
    let late = said(&lease("2"));
    assert!(
        late.starts_with("(error) EPOCH bucket r is at epoch 3"),
        "{late}"
    );
    let drop = |place: &str| ["BUCKET.DROP", "r", "3", "AT", place].map(str::to_owned);
    assert_eq!(said(&drop(&place)), "OK");
    assert_eq!(at.say(&["GET", "{r}a"]), "(nil)");
    // Itself is one, too.
    assert!(said(&drop(near.address())).starts_with("[keys, 0"));
    let foreign = said(&drop("127.0.0.1:1"));
    let is_named = "(error) ERR store 127.0.0.1:1 is none of those that TURLOUGH_STORE_PEERS names";
    assert_eq!(foreign, is_named);
    let words = ["BUCKET.DROP", "r", "3", "IN", &place].map(str::to_owned);
    assert_eq!(said(&words), "(error) ERR syntax error");
    assert!(owner.end());
    let away = said(&drop(&place));
    assert!(
        away.starts_with("(error) BUSY store") && away.contains("does not answer"),
        "{away}"
    );
}
