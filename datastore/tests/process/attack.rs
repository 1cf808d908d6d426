//! A tenant sees nothing of another, by whatever command; who has no password is refused.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use turlough_datastore::StepCredential;

use crate::client::Client;
use crate::program::{Store, eventually};

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
fn a_steps_credential_reads_its_inputs_and_writes_its_key_and_nothing_else() {
    let store = Store::with(&["acme", "other"], &[]);
    let mut acme = store.client_as("acme");
    for key in ["{r}in", "{r}secret", "{s}secret", "plain"] {
        assert_eq!(acme.say(&["SET", key, "hidden-value"]), "OK");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let step = |ms: u64| StepCredential {
        until_unix_ms: now.as_millis() as u64 + ms,
        read: vec!["{r}in".into()],
        write: Some("{r}out.1".into()),
        epoch: 4,
    };
    let auth = |client: &mut Client, name: &str, step: &StepCredential| {
        let signed = step.sign(b"acme-secret").unwrap();
        client.say(&["AUTH", name, &signed])
    };
    let mut function = store.client();
    assert_eq!(auth(&mut function, "acme", &step(600_000)), "OK");
    assert_eq!(function.say(&["GET", "{r}in"]), "hidden-value");
    let large = vec![b'v'; 100_000];
    assert_eq!(
        function.call(&[b"SET", b"{r}out.1", &large, b"NX", b"EPOCH", b"99"]),
        "OK"
    );
    // Once: the same may come again.
    assert_eq!(function.call(&[b"SET", b"{r}out.1", &large]), "OK");
    let other = function.call(&[b"SET", b"{r}out.1", &large[1..]]);
    assert!(other.starts_with("(error) NOPERM another value"), "{other}");
    let reference = function.say(&["BUCKET.REF", "{r}out.1"]);
    assert!(reference.contains("size, 100000"), "{reference}");
    assert!(acme.say(&["BUCKET.STAT", "r"]).contains("epoch, 4"));
    let others = acme.say(&["BUCKET.REF", "{r}secret"]);
    let others = others.split(", ").find(|it| it.starts_with("turlough:"));
    let more = [
        "SET {r}in other",
        "SET {r}other mine",
        "SETNX {r}out. mine",
        "SET {r}out.1 mine EX 10",
        "MGET {r}in {r}secret",
        "MSET {r}out.2 mine",
        "GETDEL {r}in",
        "SET {r}out.1 mine BACKUP SYNC EPOCH 99 XX GET KEEPTTL BAD",
        &format!("REF.GET {}", others.unwrap()),
    ];
    for tried in TRIED.iter().copied().chain(more) {
        let tried = tried.replace("{secret}a", "{r}secret");
        let tried = tried.replace(" secret", " r");
        let words: Vec<_> = tried.split(' ').collect();
        let reply = function.say(&words);
        let is_plain = ["CONFIG GET *"].contains(&&*tried);
        assert!(
            is_plain || reply.starts_with("(error) "),
            "{tried}: {reply}"
        );
        assert!(!reply.contains("hidden"), "{tried}: {reply}");
    }
    assert_eq!(acme.say(&["DBSIZE"]), "5");
    assert_eq!(acme.say(&["STRLEN", "{r}out.1"]), "100000");
    // A large value is refused before it is read.
    function.send(b"*3\r\n$3\r\nSET\r\n$4\r\n{r}a\r\n$100000\r\n");
    function.send(&large);
    function.send(b"\r\n");
    assert!(function.reply().unwrap().starts_with("(error) NOPERM"));
    // It is of one tenant, for a time.
    let told = auth(&mut store.client(), "other", &step(600_000));
    assert!(told.starts_with("(error) WRONGPASS"), "{told}");
    let mut late = store.client();
    assert_eq!(auth(&mut late, "acme", &step(700)), "OK");
    eventually("its time is over", || {
        late.say(&["GET", "{r}in"]) == "(error) NOAUTH credential has expired"
    });
    assert!(auth(&mut late, "acme", &step(0)).starts_with("(error) WRONGPASS"));
}

#[test]
fn a_step_whose_request_was_taken_over_puts_its_output_and_after_a_drop_none() {
    let store = Store::with(&["acme"], &[]);
    let (mut acme, mut function) = (store.client_as("acme"), store.client());
    let step = StepCredential {
        until_unix_ms: u64::MAX,
        read: Vec::new(),
        write: Some("{r}out".into()),
        epoch: 4,
    };
    let signed = step.sign(b"acme-secret").unwrap();
    assert_eq!(acme.say(&["SET", "{r}in", "v", "EPOCH", "4"]), "OK");
    assert_eq!(function.say(&["AUTH", "acme", &signed]), "OK");
    assert_eq!(acme.say(&["BUCKET.LEASE", "r", "6", "600000"]), "1");
    assert_eq!(function.say(&["SET", "{r}out", "mine"]), "OK");
    assert!(acme.say(&["BUCKET.STAT", "r"]).contains("epoch, 6"));
    acme.say(&["BUCKET.DROP", "r", "6"]);
    let told = function.say(&["SET", "{r}out", "mine"]);
    assert!(
        told.starts_with("(error) EPOCH bucket r was dropped"),
        "{told}"
    );
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
