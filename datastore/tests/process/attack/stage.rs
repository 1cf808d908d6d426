//! Two stores with the same tenants, and what one of them owns.

use turlough_datastore::StepCredential;

use super::shapes::{Reach, shapes};
use crate::client::Client;
use crate::program::{Store, unix_ms};

/// What is looked at of what a tenant owns. The last of it is what outlives its bucket.
const LOOKED_AT: &[&str] = &[
    "DBSIZE",
    "MGET {secret}a plain",
    "PEXPIRETIME {secret}a",
    "PEXPIRETIME plain",
    "BUCKET.REF {secret}a",
    "BUCKET.LIST 0 COUNT 1000",
    "BUCKET.STAT secret",
    "TENANT.STAT",
    "BUCKET.DROP secret 1000",
    "EXISTS {secret}a",
];
/// A lease that was not touched is longer, in ms.
const LONG_MS: u64 = 80_000_000;

pub(super) struct Stage {
    pub(super) near: Store,
    far: Store,
    admin: Client,
    expires_unix_ms: String,
    reference: String,
    far_reference: String,
    /// What remains of what nobody attacked.
    pub(super) untouched: Vec<String>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let far = Store::with(&["admin"], &[]);
        let near = Store::with(&["admin"], &[("TURLOUGH_STORE_PEERS", far.address())]);
        let mut stage = Self {
            admin: near.client_as("admin"),
            near,
            far,
            // In the middle of what is told apart of such times, so that a moment makes no difference.
            expires_unix_ms: ((unix_ms() / 100_000 + 50) * 100_000 + 50_000).to_string(),
            reference: String::new(),
            far_reference: String::new(),
            untouched: Vec::new(),
        };
        stage.settle("nature");
        let reference = |store: &Store| {
            store
                .client_as("nature")
                .field(&["BUCKET.REF", "{secret}a"], "reference")
        };
        (stage.reference, stage.far_reference) = (reference(&stage.near), reference(&stage.far));
        stage.untouched = stage.remains("nature", &["nature".to_owned()]);
        stage
    }

    /// A tenant that has nothing, and the same limits as all.
    pub(super) fn comes(&mut self, name: &str) {
        self.near.let_in(name);
        self.far.let_in(name);
        let limits = format!("TENANT.SET {name} SOFT 6666666 HARD 7777777 FLIGHT 5555555");
        assert_eq!(self.admin.say_all(&limits), "OK");
    }

    /// One that owns two values at either store.
    pub(super) fn settle(&mut self, name: &str) {
        self.comes(name);
        for store in [&self.near, &self.far] {
            let mut client = store.client_as(name);
            let expires = &self.expires_unix_ms;
            let set = format!("SET {{secret}}a hidden-value EPOCH 3 PXAT {expires}");
            assert_eq!(client.say_all(&set), "OK");
            assert_eq!(client.say_all("BUCKET.LEASE secret 3 86400000"), "1");
            assert_eq!(client.say_all("SET plain hidden-value"), "OK");
        }
    }

    /// What a shape is against a victim, with a secret in the password's place.
    pub(super) fn words(&self, shape: &str, victim: &str, secret: &str) -> String {
        shape
            .replace("<victim>", victim)
            .replace("<password>", secret)
            .replace("<signed>", secret)
            .replace("<reference>", &self.reference)
            .replace("<far>", &self.far_reference)
            .replace("<here>", self.near.address())
            .replace("<there>", self.far.address())
    }

    /// The answer to who says a shape against a victim, on a connection of its own.
    pub(super) fn said_by(&self, name: &str, shape: &str, victim: &str) -> String {
        let password = format!("{name}-secret");
        let step = StepCredential {
            until_unix_ms: u64::MAX,
            read: vec!["plain".into()],
            write: None,
            epoch: 1,
        };
        let secret = match shape.contains("<signed>") {
            true => step.sign(password.as_bytes()).unwrap(),
            false => password,
        };
        let words = self.words(shape, victim, &secret);
        self.near.client_as(name).say_all(&words)
    }

    /// The same of one that comes for it, with limits and a key of its own.
    pub(super) fn said_by_stranger(&mut self, name: &str, shape: &str, victim: &str) -> String {
        self.near.let_in(name);
        self.far.let_in(name);
        let mut own = self.near.client_as(name);
        assert_eq!(own.say_all("SET {own}a mine"), "OK");
        self.said_by(name, shape, victim)
    }

    /// What a tenant owns, at either store. Its bucket is no more then.
    pub(super) fn remains(&self, name: &str, names: &[String]) -> Vec<String> {
        let mut seen = Vec::new();
        for store in [&self.near, &self.far] {
            let mut client = store.client_as(name);
            let lease = client.say_all("BUCKET.STAT secret");
            let lease = lease
                .rsplit_once("lease_ms, ")
                .map(|(_, rest)| rest.trim_end_matches(']'));
            let is_long = lease.is_some_and(|ms| ms.parse::<u64>().unwrap() > LONG_MS);
            seen.push(format!("long lease: {is_long}"));
            seen.extend(LOOKED_AT.iter().map(|words| {
                let told = client.say_all(words);
                match (words.starts_with("PEXPIRETIME"), told.parse::<u64>()) {
                    (true, Ok(ms)) => format!("{words}: {}", ms / 100_000),
                    _ => format!("{words}: {}", steady(&told, names)),
                }
            }));
        }
        seen
    }
}

/// The names of all commands, as a store tells of them.
pub(super) fn commands(client: &mut Client) -> Vec<String> {
    let told = client.say(&["COMMAND"]);
    // [[get, 2, [readonly], 1, 1, 1], [set, …
    let heads = told.trim_start_matches('[').split(", [").step_by(2);
    let name = |head: &str| head.split(", ").next().unwrap_or_default().to_owned();
    let names: Vec<_> = heads.map(name).collect();
    assert_eq!(client.say(&["COMMAND", "COUNT"]), names.len().to_string());
    names
}

/// Every shape of every command that the store has.
pub(super) fn each_shape(
    store: &Store,
) -> impl Iterator<Item = (String, Reach, &'static str)> + use<> {
    store.let_in("asker");
    let all = commands(&mut store.client_as("asker"));
    all.into_iter().flat_map(|command| {
        let shapes = shapes(&command).iter();
        shapes.map(move |(reach, shape)| (command.clone(), *reach, *shape))
    })
}

/// An answer without what is another each time.
pub(super) fn steady(answer: &str, names: &[String]) -> String {
    let mut answer = answer.to_owned();
    for name in names {
        answer = answer.replace(name, "somebody");
    }
    for before in ["byte_ms, ", "lease_ms, ", "uptime_in_seconds:", " id, "] {
        let mut parts = answer.split(before);
        let mut steady = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            steady.push_str(before);
            steady.push_str(part.trim_start_matches(|it: char| it.is_ascii_digit()));
        }
        answer = steady;
    }
    answer
}
