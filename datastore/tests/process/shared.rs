//! Clients that work on the same few keys at once. What each did is written down with when it began and
//! ended, and looked through at the end: nothing was read, won or counted that no order of it explains.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use redis::{Connection, RedisError};

use crate::alike::Dice;
use crate::program::Store;

const CLIENTS: u64 = 6;
const TURNS: u64 = 1_000;
const BUCKETS: u64 = 3;
const NAMES: u64 = 2;

/// When something began and ended, by a count that all clients share.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: u64,
    ended: u64,
}

impl Span {
    fn is_before(self, other: Self) -> bool {
        self.ended < other.began
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value was put, and took the place of what was there.
    Put,
    /// A value was seen, or none.
    Read,
    /// A value went and was told to one client alone, or there was none.
    Take,
    /// A value's place was taken by the one of the same span; it was told to one client alone.
    Replace,
    Drop,
    /// A put was heard of that found what it does not replace.
    Heard,
    /// A put that its epoch was too old for.
    Refused,
}

/// What was done, on a key or, where there is none, on all of a bucket.
#[derive(Debug, Clone)]
struct Deed {
    span: Span,
    kind: Kind,
    bucket: u64,
    name: Option<u64>,
    /// The value, by its number.
    value: Option<u64>,
    epoch: u64,
}

struct Client {
    wire: Connection,
    dice: Dice,
    clock: Arc<AtomicU64>,
    /// The newest epoch that a bucket was dropped at, or is about to be.
    epochs: Arc<[AtomicU64; BUCKETS as usize]>,
    next_value: u64,
    deeds: Vec<Deed>,
}

impl Client {
    fn ask<T: redis::FromRedisValue>(
        &mut self,
        words: &[Vec<u8>],
    ) -> (Span, Result<T, RedisError>) {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        let began = self.clock.fetch_add(1, Ordering::SeqCst);
        let said = command.query(&mut self.wire);
        let ended = self.clock.fetch_add(1, Ordering::SeqCst);
        (Span { began, ended }, said)
    }

    fn note(
        &mut self,
        span: Span,
        kind: Kind,
        (bucket, name): (u64, Option<u64>),
        value: Option<u64>,
        epoch: u64,
    ) {
        self.deeds.push(Deed {
            span,
            kind,
            bucket,
            name,
            value,
            epoch,
        });
    }

    fn turn(&mut self) {
        let (bucket, name) = (self.dice.roll(BUCKETS), self.dice.roll(NAMES));
        let key = format!("{{r{bucket}}}{name}").into_bytes();
        let newest = &self.epochs[bucket as usize];
        let epoch = newest.load(Ordering::SeqCst) + self.dice.roll(4).min(1);
        let at = (bucket, Some(name));
        match self.dice.roll(12) {
            0..3 => self.put(at, key, epoch, &[]),
            3..5 => self.put(at, key, epoch, &["GET"]),
            5 => self.put(at, key, epoch, &["NX"]),
            6..9 => {
                let (span, read) = self.ask::<Option<Vec<u8>>>(&[b"GET".to_vec(), key]);
                let value = read.unwrap().map(|bytes| number(&bytes));
                self.note(span, Kind::Read, at, value, 0);
            }
            9..11 => {
                let (span, taken) = self.ask::<Option<Vec<u8>>>(&[b"GETDEL".to_vec(), key]);
                let value = taken.unwrap().map(|bytes| number(&bytes));
                self.note(span, Kind::Take, at, value, 0);
            }
            _ => {
                let epoch = newest.fetch_add(1, Ordering::SeqCst) + 1;
                let name = format!("r{bucket}").into_bytes();
                let words = [
                    b"BUCKET.DROP".to_vec(),
                    name,
                    epoch.to_string().into_bytes(),
                ];
                let (span, dropped) = self.ask::<redis::Value>(&words);
                // One that is overtaken by a newer one comes late, and does nothing.
                if is_done(dropped) {
                    self.note(span, Kind::Drop, (bucket, None), None, epoch);
                }
            }
        }
    }

    fn put(&mut self, at: (u64, Option<u64>), key: Vec<u8>, epoch: u64, more: &[&str]) {
        self.next_value += CLIENTS;
        let value = self.next_value;
        let len = *self.dice.one(&[20, 20, 500, 16_400, 40_000]);
        let bytes = format!("{value:0>len$}").into_bytes();
        let mut words = vec![b"SET".to_vec(), key, bytes];
        words.extend(more.iter().map(|word| word.as_bytes().to_vec()));
        words.extend([b"EPOCH".to_vec(), epoch.to_string().into_bytes()]);
        let (span, said) = self.ask::<redis::Value>(&words);
        let is_refused = said.as_ref().err().and_then(RedisError::code) == Some("EPOCH");
        if is_refused {
            return self.note(span, Kind::Refused, at, Some(value), epoch);
        }
        match said.unwrap() {
            redis::Value::Nil if more == ["NX"] => {
                return self.note(span, Kind::Heard, at, None, epoch);
            }
            // It found nothing, and says so.
            redis::Value::Nil => self.note(span, Kind::Read, at, None, epoch),
            redis::Value::Okay if more == ["NX"] => {
                self.note(span, Kind::Read, at, None, epoch);
            }
            redis::Value::BulkString(old) => {
                self.note(span, Kind::Replace, at, Some(number(&old)), epoch);
            }
            _ => {}
        }
        self.note(span, Kind::Put, at, Some(value), epoch);
    }
}

fn is_done(said: Result<redis::Value, RedisError>) -> bool {
    match said {
        Ok(_) => true,
        Err(error) if error.code() == Some("EPOCH") => false,
        Err(error) => panic!("{error}"),
    }
}

/// A value's number; a value is whole where there are zeros before it.
fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

/// What was done on a key, or took it away with its bucket.
fn on_key(deeds: &[Deed], bucket: u64, name: u64) -> Vec<&Deed> {
    let deeds = deeds.iter().filter(|deed| deed.bucket == bucket);
    deeds
        .filter(|deed| deed.name.is_none_or(|it| it == name))
        .collect()
}

fn look_through(deeds: &[&Deed]) {
    let puts: HashMap<u64, &Deed> = deeds
        .iter()
        .filter(|deed| deed.kind == Kind::Put)
        .map(|deed| (deed.value.unwrap(), *deed))
        .collect();
    let mut went = HashSet::new();
    let ends = |deed: &Deed| match deed.kind {
        Kind::Put | Kind::Drop => true,
        Kind::Take => deed.value.is_some(),
        _ => false,
    };
    for deed in deeds {
        if !matches!(deed.kind, Kind::Read | Kind::Take | Kind::Replace) {
            continue;
        }
        let Some(value) = deed.value else {
            look_at_none(deeds, deed, &puts, ends);
            continue;
        };
        let put = puts
            .get(&value)
            .unwrap_or_else(|| panic!("nobody put it: {deed:?}"));
        assert!(!deed.span.is_before(put.span), "{deed:?} before {put:?}");
        if deed.kind != Kind::Read {
            assert!(went.insert(value), "told to two: {deed:?}");
        }
        // What took its place, or took it away, before it was looked for.
        let over = deeds
            .iter()
            .find(|it| ends(it) && put.span.is_before(it.span) && it.span.is_before(deed.span));
        assert!(over.is_none(), "{deed:?} of {put:?} after {over:?}");
    }
}

/// Nothing was found: so it must have been taken away after every put that had ended.
fn look_at_none(
    deeds: &[&Deed],
    none: &Deed,
    puts: &HashMap<u64, &Deed>,
    ends: impl Fn(&Deed) -> bool,
) {
    for put in puts.values().filter(|put| put.span.is_before(none.span)) {
        let gone = deeds.iter().any(|it| {
            it.kind != Kind::Put
                && ends(it)
                && !it.span.is_before(put.span)
                && !none.span.is_before(it.span)
        });
        assert!(gone, "{none:?} after {put:?}");
    }
}

/// Nothing old is put once a bucket has heard of something newer, and nothing else is refused.
fn look_at_epochs(deeds: &[Deed]) {
    for deed in deeds {
        let newer = |it: &&Deed| match it.kind {
            Kind::Drop => it.bucket == deed.bucket && it.epoch >= deed.epoch,
            Kind::Put | Kind::Heard => it.bucket == deed.bucket && it.epoch > deed.epoch,
            _ => false,
        };
        match deed.kind {
            Kind::Put | Kind::Heard => {
                let late = deeds
                    .iter()
                    .filter(newer)
                    .find(|it| it.span.is_before(deed.span));
                assert!(late.is_none(), "{deed:?} after {late:?}");
            }
            Kind::Refused => {
                let why = deeds
                    .iter()
                    .filter(newer)
                    .find(|it| !deed.span.is_before(it.span));
                assert!(why.is_some(), "{deed:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn what_clients_on_the_same_keys_see_is_explained_by_some_order() {
    let store = Store::with(&[], &[("TURLOUGH_STORE_WORKERS", "4")]);
    let client = redis::Client::open(format!("redis://{}", store.address())).unwrap();
    let clock = Arc::new(AtomicU64::new(0));
    let epochs = Arc::new([const { AtomicU64::new(0) }; BUCKETS as usize]);
    let threads: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut client = Client {
                wire: client.get_connection().unwrap(),
                dice: Dice(n),
                clock: Arc::clone(&clock),
                epochs: Arc::clone(&epochs),
                next_value: n,
                deeds: Vec::new(),
            };
            std::thread::spawn(move || {
                for _ in 0..TURNS {
                    client.turn();
                }
                client.deeds
            })
        })
        .collect();
    let deeds: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    for kind in [
        Kind::Put,
        Kind::Read,
        Kind::Take,
        Kind::Replace,
        Kind::Drop,
        Kind::Refused,
    ] {
        let count = deeds.iter().filter(|deed| deed.kind == kind).count();
        assert!(count > 10, "{kind:?} came {count} times");
    }
    for (bucket, name) in (0..BUCKETS).flat_map(|bucket| (0..NAMES).map(move |name| (bucket, name)))
    {
        look_through(&on_key(&deeds, bucket, name));
    }
    look_at_epochs(&deeds);
    settles(&store, &mut client.get_connection().unwrap());
}

/// The sums are those of what lies there; and nothing does once all is dropped.
fn settles(store: &Store, wire: &mut Connection) {
    let (mut keys, mut bytes) = (0, 0);
    for bucket in 0..BUCKETS {
        let (mut keys_here, mut bytes_here) = (0, 0);
        for name in 0..NAMES {
            let key = format!("{{r{bucket}}}{name}");
            let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query(wire).unwrap();
            keys_here += u64::from(value.is_some());
            bytes_here += value.map_or(0, |value| value.len() as u64 + 1 + 64);
        }
        let stat: Option<BTreeMap<String, u64>> = redis::cmd("BUCKET.STAT")
            .arg(format!("r{bucket}"))
            .query(wire)
            .unwrap();
        let told = stat.map_or((0, 0), |stat| (stat["keys"], stat["bytes"]));
        assert_eq!(told, (keys_here, bytes_here), "bucket {bucket}");
        keys += keys_here;
        bytes += bytes_here;
    }
    let stat = |wire: &mut Connection| -> BTreeMap<String, u64> {
        redis::cmd("TENANT.STAT").query(wire).unwrap()
    };
    let told = stat(wire);
    assert_eq!((told["keys"], told["bytes"]), (keys, bytes + BUCKETS * 256));
    for bucket in 0..BUCKETS {
        redis::cmd("BUCKET.DROP")
            .arg(format!("r{bucket}"))
            .arg(10_000)
            .exec(wire)
            .unwrap();
    }
    let told = stat(wire);
    assert_eq!((told["keys"], told["bytes"]), (0, BUCKETS * 256));
    assert_eq!(told["bytes_in_flight"], 0);
    assert_eq!(store.metric("turlough_store_pool_used_bytes "), 0.0);
}

#[test]
fn what_is_put_once_is_put_by_one_and_what_is_taken_is_had_by_one() {
    const ROUNDS: u64 = 300;
    let store = Store::with(&[], &[("TURLOUGH_STORE_WORKERS", "4")]);
    let client = redis::Client::open(format!("redis://{}", store.address())).unwrap();
    let all_put = Arc::new(Barrier::new(CLIENTS as usize));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut wire = client.get_connection().unwrap();
            let all_put = Arc::clone(&all_put);
            std::thread::spawn(move || {
                let mut won = Vec::new();
                for round in 0..ROUNDS {
                    let len = [20, 17_000][round as usize % 2];
                    let mut put = redis::cmd("SETNX");
                    put.arg(format!("{{r}}{round}")).arg(format!("{n:0>len$}"));
                    if put.query::<bool>(&mut wire).unwrap() {
                        won.push((round, n));
                    }
                }
                // Nothing is taken before all is put.
                all_put.wait();
                let mut taken = Vec::new();
                for round in (0..ROUNDS).rev() {
                    let mut take = redis::cmd("GETDEL");
                    let value: Option<Vec<u8>> =
                        take.arg(format!("{{r}}{round}")).query(&mut wire).unwrap();
                    taken.extend(value.map(|bytes| (round, number(&bytes))));
                }
                (won, taken)
            })
        })
        .collect();
    let (mut won, mut taken) = (Vec::new(), Vec::new());
    for thread in threads {
        let (won_here, taken_here) = thread.join().unwrap();
        won.extend(won_here);
        taken.extend(taken_here);
    }
    won.sort_unstable();
    taken.sort_unstable();
    assert_eq!(won, taken);
    let rounds = won.iter().map(|(round, _)| *round);
    assert!(rounds.eq(0..ROUNDS), "{won:?}");
}
