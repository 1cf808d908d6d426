//! A tenant sees nothing of another, by whatever command; who has no password is refused.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::program::Store;

/// Every command that names a key, a bucket or a tenant, against another's.
const TRIED: &[&str] = &[
    "GET {secret}a",
    "GETDEL {secret}a",
    "GETEX {secret}a PERSIST",
    "GETRANGE {secret}a 0 -1",
    "STRLEN {secret}a",
    "EXISTS {secret}a plain",
    "TYPE {secret}a",
    "TTL {secret}a",
    "MGET {secret}a plain",
    "DEL {secret}a plain",
    "UNLINK {secret}a plain",
    "EXPIRE {secret}a 1",
    "PERSIST {secret}a",
    "KEEP {secret}a 1",
    "BUCKET.REF {secret}a",
    "BUCKET.STAT secret",
    "BUCKET.LEASE secret 99 1",
    "BUCKET.LIST 0 COUNT 10000",
    "BUCKET.DROP secret 99",
    "SCAN 0 COUNT 10000",
    "DBSIZE",
    "SET {secret}a mine",
    "APPEND plain mine",
    "SETNX plain mine",
    "BLOCK.GET {other}a 1",
    "FLUSHDB",
    "FLUSHALL",
    "INFO",
    "CONFIG GET *",
    "TENANT.STAT",
    "TENANT.STAT victim",
    "TENANT.SET victim HARD 1",
    "TENANT.SET attacker HARD 99999999999",
    "TENANT.LIST",
    "CLIENT LIST",
    "CLIENT KILL 127.0.0.1:1",
    "DEBUG OBJECT plain",
    "KEYS *",
    "MONITOR",
    "SHUTDOWN",
    "CONFIG SET maxmemory 1",
];

#[test]
fn no_command_shows_or_changes_what_is_anothers() {
    let store = Store::with(&["victim", "attacker", "admin"], &[]);
    let mut victim = store.client_as("victim");
    for key in ["{secret}a", "plain"] {
        assert_eq!(victim.say(&["SET", key, "hidden-value"]), "OK");
    }
    let mut attacker = store.client_as("attacker");
    for tried in TRIED {
        let words: Vec<_> = tried.split(' ').collect();
        let reply = attacker.say(&words);
        for found in ["hidden", "victim\"", "keys=2", "secret, ", "bytes, 292"] {
            assert!(!reply.contains(found), "{tried}: {reply}");
        }
        assert_eq!(
            victim.say(&["MGET", "{secret}a", "plain"]),
            "[hidden-value, hidden-value]",
            "{tried}"
        );
        assert_eq!(victim.say(&["DBSIZE"]), "2", "{tried}");
    }
    let stat = victim.say(&["TENANT.STAT"]);
    assert!(!stat.contains("hard, 1,"), "{stat}");
    let mut admin = store.client_as("admin");
    assert!(admin.say(&["GET", "plain"]).starts_with("(error) NOPERM"));
    assert!(admin.say(&["FLUSHDB"]).starts_with("(error) NOPERM"));
    assert_eq!(admin.say(&["TENANT.LIST"]), "[attacker, victim]");
    // Who becomes another has that one's keys, and its own no more.
    assert_eq!(attacker.say(&["AUTH", "victim", "victim-secret"]), "OK");
    assert_eq!(attacker.say(&["GET", "plain"]), "hidden-value");
}

#[test]
fn nothing_is_answered_without_a_password() {
    let store = Store::with(&["acme"], &[]);
    let mut client = store.client();
    for words in [&["GET", "a"][..], &["PING"], &["INFO"], &["COMMAND"]] {
        assert_eq!(client.say(words), "(error) NOAUTH Authentication required.");
    }
    assert!(
        client
            .say(&["HELLO", "3"])
            .starts_with("(error) NOAUTH HELLO")
    );
    // Nor is a large value read.
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n");
    client.send(&vec![b'x'; 100_000]);
    client.send(b"\r\n");
    assert!(client.reply().unwrap().starts_with("(error) NOAUTH"));
    assert!(
        client
            .say(&["HELLO", "3", "AUTH", "acme", "acme-secret"])
            .contains("proto, 3")
    );
    assert_eq!(client.say(&["SET", "a", "1"]), "OK");
}

#[test]
fn wrong_passwords_wait_longer_and_longer() {
    let store = Store::with(&["acme"], &[]);
    let begin = Instant::now();
    let mut tried = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        // Another connection each time does not help.
        let mut client = Client::connect(store.address());
        let reply = client.say(&["AUTH", "acme", &format!("guess-{tried}")]);
        assert!(reply.starts_with("(error) WRONGPASS"), "{reply}");
        tried += 1;
    }
    assert!(tried <= 8, "{tried} guesses in two seconds");
    assert_eq!(
        store.metric("turlough_store_wrong_passwords_total "),
        f64::from(tried)
    );
}
