//! Whatever tenants tell a store, in whatever order, the answers and all sums are those of the model that
//! the store's own tests have. Time stands still here: what goes by itself does so after hours.

#[allow(dead_code, reason = "nothing here has time pass")]
#[path = "../../src/store/tests/model.rs"]
mod model;

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use redis::{Connection, Value};

use crate::program::Store;
use model::{Act, Key, Lasts, Model, Putting, Refused, Scan, TENANTS, Wanted};

const NAMES: [&str; TENANTS] = ["acme", "other", "third"];
const HARD: u64 = 60_000;
/// What is added to every time, and what a test never takes.
const HOURS_MS: u64 = 10_000_000;
const ROOM: usize = 1 << 30;

struct Told {
    wires: Vec<Connection>,
    admin: Connection,
    model: Model,
    scans: Vec<Option<Scan>>,
    turn: usize,
}

fn word(text: impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}

fn tell(wire: &mut Connection, words: &[Vec<u8>]) -> Result<Value, Refused> {
    let mut command = redis::cmd(std::str::from_utf8(&words[0]).unwrap());
    for word in &words[1..] {
        command.arg(word);
    }
    command.query(wire).map_err(|error: redis::RedisError| {
        let code = error.code().unwrap_or_default().to_owned();
        match code.as_str() {
            "QUOTA" => Refused::Quota,
            "OOM" => Refused::Full,
            "EPOCH" => Refused::Epoch,
            _ => panic!("{error}"),
        }
    })
}

fn bulk(value: Option<Vec<u8>>) -> Value {
    value.map_or(Value::Nil, Value::BulkString)
}

/// A list of names and numbers.
fn numbers(value: Value) -> Option<HashMap<String, u64>> {
    (value != Value::Nil).then(|| redis::from_redis_value(value).unwrap())
}

impl Told {
    fn new(store: &Store) -> Self {
        let connect = |name: &str| {
            let url = format!("redis://{name}:{name}-secret@{}", store.address());
            redis::Client::open(url).unwrap().get_connection().unwrap()
        };
        let mut told = Self {
            wires: NAMES.map(connect).into(),
            admin: connect("admin"),
            model: Model::new(ROOM as u64, HARD, HOURS_MS),
            scans: NAMES.map(|_| None).into(),
            turn: 0,
        };
        for who in 0..TENANTS {
            told.set_quota(who, HARD);
        }
        told
    }

    fn say(&mut self, who: usize, words: &[Vec<u8>]) -> Result<Value, Refused> {
        tell(&mut self.wires[who], words)
    }

    fn set_quota(&mut self, who: usize, hard: u64) {
        let words = [
            word("TENANT.SET"),
            word(NAMES[who]),
            word("HARD"),
            word(hard),
        ];
        assert_eq!(tell(&mut self.admin, &words), Ok(Value::Okay));
        self.model.tenants[who].hard = hard;
    }

    fn act(&mut self, who: usize, act: &Act) {
        self.turn += 1;
        let is_even = self.turn.is_multiple_of(2);
        match act {
            Act::Put { key, put, .. } => self.put(who, key, put),
            Act::Append(key, len) => {
                let more = vec![7; *len];
                let words = [word("APPEND"), word(key.whole()), more.clone()];
                let meant = self.model.append(who, key, &more);
                let meant = meant.map(|len| Value::Int(len as i64));
                assert_eq!(self.say(who, &words), meant);
            }
            Act::Get(key) => self.get(who, key),
            Act::Take(key) => {
                let taken = self.model.take(who, key).map(|item| item.value);
                let (command, meant) = match is_even {
                    true => ("GETDEL", bulk(taken)),
                    false => ("DEL", Value::Int(i64::from(taken.is_some()))),
                };
                let said = self.say(who, &[word(command), word(key.whole())]);
                assert!(said == Ok(meant), "{command} {key:?}");
            }
            Act::Expire(key, after_ms) => self.expire(who, key, after_ms.map(|ms| ms + HOURS_MS)),
            Act::Keep(key, ms) => {
                let ms = ms + HOURS_MS;
                let said = self.say(who, &[word("KEEP"), word(key.whole()), word(ms)]);
                let meant = self.model.keep(who, key, ms);
                assert_eq!(said, Ok(Value::Int(i64::from(meant))));
            }
            Act::Drop(name, claim) => {
                let epoch = self.model.epoch(who, name, *claim);
                let said = self.say(who, &[word("BUCKET.DROP"), word(name), word(epoch)]);
                let held = said.map(|value| {
                    let told = numbers(value).unwrap();
                    (told["keys"], told["bytes"], told["bytes_peak"])
                });
                let meant = self.model.drop_bucket(who, name, epoch);
                let meant = meant.map(|(keys, bytes, peak, _)| (keys, bytes, peak));
                assert_eq!(held, meant);
            }
            Act::Lease(name, claim, ms) => {
                let epoch = self.model.epoch(who, name, *claim);
                let ms = ms + HOURS_MS;
                let words = [word("BUCKET.LEASE"), word(name), word(epoch), word(ms)];
                let meant = self.model.lease(who, name, epoch, ms);
                let meant = meant.map(|is_there| Value::Int(i64::from(is_there)));
                assert_eq!(self.say(who, &words), meant);
            }
            Act::Scan(count) => drop(self.scan(who, *count)),
            Act::List(count) => self.list(who, *count),
            Act::Quota(hard) => self.set_quota(who, *hard),
            Act::Flush => {
                assert_eq!(self.say(who, &[word("FLUSHDB")]), Ok(Value::Okay));
                self.model.flush(who);
            }
            Act::Pass(_) | Act::Reach => {}
        }
        self.check(who);
    }

    fn put(&mut self, who: usize, key: &Key, put: &Putting) {
        let mut put = put.clone();
        if let Lasts::For(ms) = &mut put.lasts {
            *ms += HOURS_MS;
        }
        let old = self.model.get(who, key).map(|item| item.value.clone());
        let epoch = put
            .claim
            .map(|claim| self.model.epoch(who, &key.bucket, claim));
        let tells_old = self.turn.is_multiple_of(3);
        let mut words = vec![word("SET"), word(key.whole()), put.bytes()];
        match put.lasts {
            Lasts::Forever => {}
            Lasts::AsBefore => words.push(word("KEEPTTL")),
            Lasts::For(ms) => words.extend([word("PX"), word(ms)]),
        }
        words.extend(match put.wanted {
            Wanted::Always => None,
            Wanted::Absent => Some(word("NX")),
            Wanted::Present => Some(word("XX")),
        });
        words.extend(tells_old.then(|| word("GET")));
        if let Some(epoch) = epoch {
            words.extend([word("EPOCH"), word(epoch)]);
        }
        let meant = self.model.put(who, key, &put).map(|is_put| match is_put {
            _ if tells_old => bulk(old),
            true => Value::Okay,
            false => Value::Nil,
        });
        let said = self.say(who, &words);
        assert!(said == meant, "{key:?} {put:?}");
    }

    fn get(&mut self, who: usize, key: &Key) {
        let said = self.say(who, &[word("GET"), word(key.whole())]);
        let item = self.model.get(who, key);
        let meant = bulk(item.map(|item| item.value.clone()));
        assert!(said == Ok(meant), "{key:?}");
        let left = match item.map(|item| item.expires_ms) {
            None => -2,
            Some(None) => -1,
            Some(Some(_)) => 1,
        };
        let said = self.say(who, &[word("PTTL"), word(key.whole())]);
        let Ok(Value::Int(said)) = said else {
            panic!("{said:?}")
        };
        assert_eq!(said.min(1), left, "{key:?}");
    }

    fn expire(&mut self, who: usize, key: &Key, after_ms: Option<u64>) {
        let item = self.model.get(who, key).cloned();
        let is_done = self.model.expire(who, key, after_ms);
        let whole = word(key.whole());
        let (words, meant) = match (self.turn % 2, after_ms) {
            (0, Some(ms)) => (
                vec![word("PEXPIRE"), whole, word(ms)],
                Value::Int(i64::from(is_done)),
            ),
            (0, None) => {
                let went = item.is_some_and(|item| item.expires_ms.is_some());
                (vec![word("PERSIST"), whole], Value::Int(i64::from(went)))
            }
            (_, Some(ms)) => (
                vec![word("GETEX"), whole, word("PX"), word(ms)],
                bulk(item.map(|item| item.value)),
            ),
            (_, None) => (
                vec![word("GETEX"), whole, word("PERSIST")],
                bulk(item.map(|item| item.value)),
            ),
        };
        let said = self.say(who, &words);
        assert!(said == Ok(meant), "{key:?} {after_ms:?}");
        self.get(who, key);
    }

    /// A step of a scan; whether it was the last.
    fn scan(&mut self, who: usize, count: usize) -> bool {
        let seen = self.model.seen(who);
        let cursor = self.scans[who]
            .get_or_insert_with(|| Scan::of(&seen))
            .cursor;
        let said = self.say(
            who,
            &[word("SCAN"), word(cursor), word("COUNT"), word(count)],
        );
        let (next, keys) = redis::from_redis_value(said.unwrap()).unwrap();
        let is_done = self.scans[who].as_mut().unwrap().step(next, keys);
        if is_done {
            self.scans[who] = None;
        }
        is_done
    }

    fn list(&mut self, who: usize, count: usize) {
        let (mut cursor, mut listed) = (0_u64, Vec::<String>::new());
        loop {
            let words = [
                word("BUCKET.LIST"),
                word(cursor),
                word("COUNT"),
                word(count),
            ];
            let said = self.say(who, &words).unwrap();
            let (next, names): (u64, Vec<String>) = redis::from_redis_value(said).unwrap();
            listed.extend(names);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        listed.sort();
        let open = self.model.tenants[who].named();
        let open = open.filter(|(_, bucket)| !bucket.is_dropped);
        assert_eq!(
            listed,
            open.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        );
    }

    /// All sums of a tenant are the model's.
    fn check(&mut self, who: usize) {
        let said = self.say(who, &[word("TENANT.STAT")]).unwrap();
        let stat = numbers(said).unwrap();
        let model = &mut self.model.tenants[who];
        model.places = stat["buckets"] - model.named().count() as u64;
        assert!(model.places <= 16, "{stat:?}");
        assert_eq!(
            (
                stat["bytes"],
                stat["keys"],
                stat["refusals"],
                stat["bytes_in_flight"]
            ),
            (model.bytes(), model.keys(), model.refusals, 0),
        );
        let named = model.named().map(|(name, it)| (name.clone(), it.clone()));
        for (name, meant) in named.collect::<Vec<_>>() {
            let said = self.say(who, &[word("BUCKET.STAT"), word(&name)]).unwrap();
            let stat = numbers(said);
            assert_eq!(stat.is_none(), meant.is_dropped, "{name}");
            let Some(stat) = stat else { continue };
            let (keys, bytes, peak, _) = meant.told();
            assert_eq!(
                (
                    stat["keys"],
                    stat["bytes"],
                    stat["bytes_peak"],
                    stat["epoch"]
                ),
                (keys, bytes, peak, meant.epoch),
                "{name}"
            );
            let gone_ms = meant.lease_ms.checked_sub(stat["lease_ms"]);
            assert!(gone_ms.is_some_and(|ms| ms < HOURS_MS / 2), "{stat:?}");
        }
        let seen = self.model.seen(who);
        if let Some(scan) = &mut self.scans[who] {
            scan.goes_on(seen);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 30,
        rng_seed: RngSeed::Fixed(11),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_is_told_the_answers_are_the_models(acts in model::acts(150)) {
        let store = Store::with(&["acme", "other", "third", "admin"], &[("TURLOUGH_STORE_LEASE", "10000000ms")]);
        let mut told = Told::new(&store);
        for (who, act) in &acts {
            told.act(*who, act);
        }
        for who in 0..TENANTS {
            while !told.scan(who, 3) {}
            prop_assert_eq!(told.say(who, &[word("FLUSHDB")]), Ok(Value::Okay));
            told.model.flush(who);
            told.check(who);
        }
        prop_assert_eq!(store.metric("turlough_store_pool_used_bytes "), 0.0);
    }
}
