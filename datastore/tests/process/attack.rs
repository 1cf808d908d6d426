//! A tenant sees nothing of another, by whatever command; who has no password is refused.

mod shapes;
mod stage;

use std::time::{Duration, Instant};

use turlough_datastore::StepCredential;

use self::shapes::{FOR_ADMINS, FOR_ALL, FOR_OUTPUT, FOR_STEPS, Reach};
use self::stage::{Stage, commands, each_shape, steady};
use crate::client::Client;
use crate::program::{Store, eventually, unix_ms};

/// Commands of Redis that would reach further than a tenant, and are not here.
const ABSENT: &[&str] = &[
    "KEYS *",
    "RANDOMKEY",
    "DUMP plain",
    "OBJECT ENCODING plain",
    "DEBUG OBJECT plain",
    "MEMORY USAGE plain",
    "COPY plain other",
    "RENAME plain other",
    "MOVE plain 1",
    "SWAPDB 0 1",
    "EVAL return 1 0",
    "SUBSCRIBE __keyspace@0__:plain",
    "MONITOR",
    "SLOWLOG GET",
    "ACL LIST",
    "SHUTDOWN",
];

#[test]
fn no_command_shows_or_changes_what_is_anothers() {
    let mut stage = Stage::new();
    for (n, (command, reach, shape)) in each_shape(&stage.near).enumerate() {
        let names = ["victim", "owner", "thief", "other", "nobody"].map(|it| format!("{it}{n}"));
        let [victim, owner, thief, other, nobody] = &names;
        stage.settle(victim);
        let told = steady(&stage.said_by_stranger(thief, shape, victim), &names);
        // Nor does it tell whether there is anything.
        let blind = steady(&stage.said_by_stranger(other, shape, nobody), &names);
        assert_eq!(told, blind, "{shape}");
        assert!(!told.contains("hidden"), "{shape}: {told}");
        let is_admins = FOR_ADMINS.contains(&&*command);
        if !is_admins && !FOR_ALL.contains(&&*command) {
            let told = stage.said_by("admin", shape, victim);
            assert!(!told.contains("hidden"), "{shape} by the admin: {told}");
        }
        assert_eq!(stage.remains(victim, &names), stage.untouched, "{shape}");
        // It would, if it reached that.
        stage.settle(owner);
        let speaker = if is_admins { "admin" } else { owner };
        let shown = steady(&stage.said_by(speaker, shape, owner), &names);
        let is_changed = stage.remains(owner, &names) != stage.untouched;
        let came_of_it = match (shown != told, is_changed) {
            (true, true) => Reach::Both,
            (true, false) => Reach::Shows,
            (false, true) => Reach::Changes,
            (false, false) => Reach::Nothing,
        };
        assert_eq!(came_of_it, reach, "{shape}: {shown}");
    }
}

#[test]
fn the_table_is_the_same_for_whoever_asks_and_what_reaches_further_is_not_in_it() {
    let store = Store::with(&["acme", "admin"], &[]);
    let (mut acme, mut admin) = (store.client_as("acme"), store.client_as("admin"));
    assert_eq!(commands(&mut acme), commands(&mut admin));
    for absent in ABSENT {
        let words: Vec<_> = absent.split(' ').collect();
        for client in [&mut acme, &mut admin] {
            let told = client.say(&words);
            assert!(told.starts_with("(error) ERR unknown command"), "{told}");
        }
    }
    for words in [&["GET", "plain"][..], &["FLUSHDB"], &["SCAN", "0"]] {
        assert!(admin.say(words).starts_with("(error) NOPERM"), "{words:?}");
    }
}

#[test]
fn who_waits_for_a_key_hears_nothing_of_anothers() {
    let store = Store::with(&["victim", "attacker"], &[]);
    let (mut attacker, mut own) = (store.client_as("attacker"), store.client_as("victim"));
    attacker.send(b"BLOCK.GET {secret}a 500\r\nPING\r\n");
    own.send(b"BLOCK.GET {secret}a 60000\r\n");
    let mut victim = store.client_as("victim");
    assert_eq!(victim.say(&["SET", "{secret}a", "hidden-value"]), "OK");
    assert_eq!(own.reply().unwrap(), "hidden-value");
    assert_eq!(attacker.reply().unwrap(), "(nil)");
    assert_eq!(attacker.reply().unwrap(), "PONG");
    // Who becomes another has that one's keys, and its own no more.
    assert_eq!(attacker.say(&["SET", "mine", "1"]), "OK");
    assert_eq!(attacker.say(&["AUTH", "victim", "victim-secret"]), "OK");
    assert_eq!(
        attacker.say(&["MGET", "{secret}a", "mine"]),
        "[hidden-value, (nil)]"
    );
}

/// A step that may read `{r}in`, and put `{r}out.1`, for so long.
fn step(ms: u64) -> StepCredential {
    StepCredential {
        until_unix_ms: unix_ms() + ms,
        read: vec!["{r}in".into()],
        write: Some("{r}out.1".into()),
        epoch: 4,
    }
}

/// A function with a credential that its tenant signed.
fn function(store: &Store, name: &str, step: &StepCredential) -> Client {
    let mut client = store.client();
    let signed = step.sign(format!("{name}-secret").as_bytes()).unwrap();
    assert_eq!(client.say(&["AUTH", name, &signed]), "OK");
    client
}

#[test]
fn no_command_goes_further_than_a_steps_credential() {
    let mut stage = Stage::new();
    for (n, (command, _, shape)) in each_shape(&stage.near).enumerate() {
        let names = ["full", "bare"].map(|it| format!("{it}{n}"));
        let [full, bare] = &names;
        stage.settle(full);
        stage.comes(bare);
        let told = [full, bare].map(|name| {
            let signed = step(600_000).sign(format!("{name}-secret").as_bytes());
            let words = stage.words(shape, name, &signed.unwrap());
            let told = function(&stage.near, name, &step(600_000)).say_all(&words);
            steady(&told, &names)
        });
        // Nor does it tell whether there is anything.
        assert_eq!(told[0], told[1], "{shape}");
        let is_refused = told[0].starts_with("(error) NOPERM");
        assert_eq!(
            is_refused,
            !FOR_ALL.contains(&&*command),
            "{shape}: {}",
            told[0]
        );
        assert_eq!(stage.remains(full, &names), stage.untouched, "{shape}");
    }
}

#[test]
fn of_what_a_step_was_given_it_may_read_and_put_and_nothing_else() {
    let store = Store::with(&["acme"], &[]);
    let mut acme = store.client_as("acme");
    assert_eq!(acme.say(&["SET", "{r}in", "input", "EPOCH", "4"]), "OK");
    let reference = acme.field(&["BUCKET.REF", "{r}in"], "reference");
    let mut late = function(&store, "acme", &step(5_000));
    for (command, _, shape) in each_shape(&store) {
        if FOR_ALL.contains(&&*command) {
            continue;
        }
        for key in ["{r}in", "{r}out.1"] {
            let shape = shape.replace("{secret}a", key).replace("plain", key);
            let shape = shape
                .replace(" secret", " r")
                .replace("<far>", "<reference>");
            let shape = shape.replace("<reference>", &reference);
            let told = function(&store, "acme", &step(600_000)).say_all(&shape);
            let is_read = FOR_STEPS.contains(&&*command);
            let is_put = key == "{r}out.1" && FOR_OUTPUT.contains(&&*command);
            if is_read {
                assert!(!told.starts_with("(error)"), "{shape}: {told}");
            } else if !is_put {
                assert!(told.starts_with("(error) NOPERM"), "{shape}: {told}");
            }
        }
    }
    assert_eq!(acme.say(&["GET", "{r}in"]), "input");
    eventually("its time is over", || {
        late.say(&["GET", "{r}in"]) == "(error) NOAUTH credential has expired"
    });
    for (command, _, shape) in each_shape(&store) {
        if !FOR_ALL.contains(&&*command) && !FOR_ADMINS.contains(&&*command) {
            let told = late.say_all(&shape.replace("{secret}a", "{r}in"));
            assert_eq!(told, "(error) NOAUTH credential has expired", "{shape}");
        }
    }
}

#[test]
fn a_step_puts_its_output_once_however_large_and_is_of_one_tenant() {
    let store = Store::with(&["acme", "other"], &[]);
    let mut acme = store.client_as("acme");
    for key in ["{r}in", "{r}secret", "{s}secret", "plain"] {
        assert_eq!(acme.say(&["SET", key, "hidden-value"]), "OK");
    }
    let mut function = function(&store, "acme", &step(600_000));
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
    assert_eq!(
        function.field(&["BUCKET.REF", "{r}out.1"], "size"),
        "100000"
    );
    assert!(acme.say(&["BUCKET.STAT", "r"]).contains("epoch, 4"));
    for tried in [
        "SET {r}in other",
        "SET {r}other mine",
        "SETNX {r}out. mine",
        "SET {r}out.1 mine EX 10",
        "MGET {r}in {r}secret",
        "MSET {r}out.2 mine",
        "SET {r}out.1 mine BACKUP SYNC EPOCH 99 XX GET KEEPTTL BAD",
    ] {
        let told = function.say_all(tried);
        assert!(told.starts_with("(error) "), "{tried}: {told}");
        assert!(!told.contains("hidden"), "{tried}: {told}");
    }
    assert_eq!(acme.say(&["DBSIZE"]), "5");
    assert_eq!(acme.say(&["STRLEN", "{r}out.1"]), "100000");
    // A large value is refused before it is read.
    function.send(b"*3\r\n$3\r\nSET\r\n$4\r\n{r}a\r\n$100000\r\n");
    function.send(&large);
    function.send(b"\r\n");
    assert!(function.reply().unwrap().starts_with("(error) NOPERM"));
    // Neither another tenant nor a credential that has ended is let in.
    for (name, ms) in [("other", 600_000), ("acme", 0)] {
        let signed = step(ms).sign(b"acme-secret").unwrap();
        let told = store.client().say(&["AUTH", name, &signed]);
        assert!(told.starts_with("(error) WRONGPASS"), "{told}");
    }
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
