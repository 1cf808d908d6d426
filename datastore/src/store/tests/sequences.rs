//! Whatever is done to a store, in whatever order and by whichever tenant, is what the model says, and
//! every sum is the model's.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::*;
use super::model::{self, Act, Lasts, Model, Putting, Refused, Scan, TENANTS, Wanted};
use crate::store::tenant::Tenant;

const HARD: u64 = 60_000;
const BYTES_MAX: u64 = 110_000;
const LEASE_MS: u64 = 5_000;

struct Both {
    store: Store,
    tenants: Vec<Arc<Tenant>>,
    model: Model,
    scans: Vec<Option<Scan>>,
}

fn code(refusal: Refusal) -> Refused {
    match refusal.code() {
        "QUOTA" => Refused::Quota,
        "OOM" => Refused::Full,
        "EPOCH" => Refused::Epoch,
        _ => panic!("{refusal}"),
    }
}

fn told(holds: Holds) -> model::Told {
    (holds.keys, holds.bytes, holds.bytes_peak, holds.byte_ms)
}

impl Both {
    fn new() -> Self {
        let store = Store::new(Bounds {
            bytes_max: BYTES_MAX,
            lease_ms: LEASE_MS,
            quota: Quota {
                soft: HARD,
                hard: HARD,
                flight: HARD,
            },
        });
        let tenants = (0..TENANTS).map(|n| store.tenant(&format!("tenant{n}"), 0));
        Self {
            tenants: tenants.collect(),
            store,
            model: Model::new(BYTES_MAX, HARD, LEASE_MS),
            scans: (0..TENANTS).map(|_| None).collect(),
        }
    }

    fn act(&mut self, who: usize, act: &Act) {
        let now_ms = self.model.now_ms;
        let tenant = Arc::clone(&self.tenants[who]);
        match act {
            Act::Put {
                key,
                put,
                is_announced,
            } => {
                let claimed = put
                    .claim
                    .map(|claim| self.model.epoch(who, &key.bucket, claim));
                let done = self.put(&tenant, &key.whole(), put, claimed, *is_announced);
                assert_eq!(done.map_err(code), self.model.put(who, key, put));
            }
            Act::Append(key, len) => self.append(who, key, *len),
            Act::Get(key) => self.get(who, key),
            Act::Take(key) => {
                let whole = key.whole();
                let taken = tenant.take(&Key::parse(whole.as_bytes()).unwrap(), now_ms);
                let taken = taken.map(|item| bytes(item.value()));
                assert_eq!(taken, self.model.take(who, key).map(|item| item.value));
            }
            Act::Expire(key, after_ms) => {
                let whole = key.whole();
                let at_ms = after_ms.map(|ms| now_ms + ms);
                let expires = at_ms.map_or(Expires::Never, Expires::At);
                let key_here = Key::parse(whole.as_bytes()).unwrap();
                let done = tenant.expire(&key_here, now_ms, |_| expires);
                assert_eq!(done, self.model.expire(who, key, *after_ms));
            }
            Act::Keep(key, ms) => {
                let whole = key.whole();
                let key_here = Key::parse(whole.as_bytes()).unwrap();
                let done = tenant.keep(&key_here, now_ms + ms, now_ms);
                assert_eq!(done, self.model.keep(who, key, *ms));
            }
            Act::Drop(name, claim) => {
                let epoch = self.model.epoch(who, name, *claim);
                let done = tenant.drop_bucket(name.as_bytes(), epoch, now_ms);
                let done = done.map(told).map_err(code);
                assert_eq!(done, self.model.drop_bucket(who, name, epoch));
            }
            Act::Lease(name, claim, ms) => {
                let epoch = self.model.epoch(who, name, *claim);
                let done = tenant.lease(name.as_bytes(), epoch, now_ms + ms);
                let done = done.map_err(code);
                assert_eq!(done, self.model.lease(who, name, epoch, *ms));
            }
            Act::Scan(count) => drop(self.scan(who, *count)),
            Act::List(count) => self.list(who, *count),
            Act::Quota(hard) => {
                let hard = *hard;
                tenant.set_quota(Quota {
                    hard,
                    ..tenant.quota()
                });
                self.model.tenants[who].hard = hard;
            }
            Act::Flush => {
                tenant.flush(now_ms);
                self.model.flush(who);
            }
            Act::Pass(ms) => self.pass(*ms),
            Act::Reach => {
                let due_ms = self.model.next_due_ms().unwrap_or(now_ms);
                self.model.pass(due_ms.max(now_ms));
            }
        }
        self.check();
    }

    fn put(
        &self,
        tenant: &Arc<Tenant>,
        key: &str,
        put: &Putting,
        epoch: Option<u64>,
        is_announced: bool,
    ) -> Result<bool, Refusal> {
        let now_ms = self.model.now_ms;
        let how = Put {
            epoch,
            only: match put.wanted {
                Wanted::Always => Only::Always,
                Wanted::Absent => Only::Absent,
                Wanted::Present => Only::Present,
            },
            expires: match put.lasts {
                Lasts::Forever => Expires::Never,
                Lasts::AsBefore => Expires::AsBefore,
                Lasts::For(ms) => Expires::At(now_ms + ms),
            },
            copy: None,
        };
        let flight = is_announced.then(|| tenant.fly(put.value.1 as u64));
        let flight = flight.transpose()?;
        let reserved = is_announced.then(|| tenant.reserve(put.value.1 as u64));
        let reserved = reserved.transpose()?;
        let made = Made::new(self.store.pool(), put.bytes());
        let key = Key::parse(key.as_bytes()).unwrap();
        let done = tenant.put(&key, made.lent(), reserved, how, now_ms, |_| {});
        drop(flight);
        done
    }

    fn append(&mut self, who: usize, key: &model::Key, len: usize) {
        let whole = key.whole();
        let more = vec![7; len];
        let done = self.tenants[who].change(
            &Key::parse(whole.as_bytes()).unwrap(),
            self.model.now_ms,
            |old| Ok([old.map(bytes).unwrap_or_default(), more.clone()].concat()),
        );
        assert_eq!(done.map_err(code), self.model.append(who, key, &more));
    }

    fn get(&self, who: usize, key: &model::Key) {
        let whole = key.whole();
        let key_here = Key::parse(whole.as_bytes()).unwrap();
        let read = self.tenants[who].get(&key_here, self.model.now_ms, |item| {
            item.map(|item| bytes(item.value()))
        });
        let meant = self.model.get(who, key).map(|item| item.value.clone());
        assert_eq!(read, meant, "{whole}");
    }

    /// A step of a scan; whether it was the last.
    fn scan(&mut self, who: usize, count: usize) -> bool {
        let seen = self.model.seen(who);
        let scan = self.scans[who].get_or_insert_with(|| Scan::of(&seen));
        let (next, keys) = self.tenants[who].scan(scan.cursor, count, None, self.model.now_ms);
        let is_done = scan.step(next, keys);
        if is_done {
            self.scans[who] = None;
        }
        is_done
    }

    fn list(&self, who: usize, count: usize) {
        let (mut cursor, mut listed) = (0, BTreeSet::new());
        loop {
            let (next, names) = self.tenants[who].list_buckets(cursor, count);
            listed.extend(
                names
                    .into_iter()
                    .map(|name| String::from_utf8(name).unwrap()),
            );
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let open = self.model.tenants[who].named();
        let open = open.filter(|(_, bucket)| !bucket.is_dropped);
        let open: BTreeSet<_> = open.map(|(name, _)| name.clone()).collect();
        assert_eq!(listed, open);
    }

    fn pass(&mut self, ms: u64) {
        let until_ms = self.model.now_ms + ms;
        while let Some(due_ms) = self
            .model
            .next_due_ms()
            .filter(|due_ms| *due_ms <= until_ms)
        {
            self.model.pass(due_ms.max(self.model.now_ms));
            self.store.sweep(self.model.now_ms);
            self.model.sweep();
            self.check();
        }
        self.model.pass(until_ms);
    }

    /// All sums are the model's.
    fn check(&mut self) {
        let now_ms = self.model.now_ms;
        for (who, tenant) in self.tenants.iter().enumerate() {
            let (mut held, mut places) = (BTreeMap::new(), 0);
            for shard in tenant.shards() {
                for (name, it) in &shard.buckets {
                    if name.is_empty() {
                        places += 1;
                        continue;
                    }
                    let name = String::from_utf8(name.to_vec()).unwrap();
                    let told = told(it.holds(now_ms));
                    held.insert(name, (told, it.epoch, it.lease_ms, it.is_dropped));
                }
            }
            self.model.tenants[who].places = places;
            let model = &self.model.tenants[who];
            let meant = model.named().map(|(name, it)| {
                let told = it.told();
                (name.clone(), (told, it.epoch, it.lease_ms, it.is_dropped))
            });
            assert_eq!(held, meant.collect::<BTreeMap<_, _>>(), "tenant {who}");
            let usage = tenant.usage(now_ms);
            assert_eq!(
                (usage.bytes, usage.keys, usage.buckets),
                (model.bytes(), model.keys(), model.bucket_count()),
                "tenant {who}"
            );
            assert_eq!(
                (usage.byte_ms, usage.refusals, usage.bytes_in_flight),
                (model.byte_ms, model.refusals, 0),
                "tenant {who}"
            );
            if let Some(scan) = &mut self.scans[who] {
                scan.goes_on(self.model.seen(who));
            }
        }
        assert_eq!(self.store.held().0, self.model.bytes());
    }

    /// All that can be read is the model's, scans end, and what is flushed leaves nothing.
    fn settle(&mut self, keys: &BTreeSet<model::Key>) {
        for who in 0..TENANTS {
            for key in keys {
                self.get(who, key);
            }
            while !self.scan(who, 3) {}
        }
        for tenant in &self.tenants {
            tenant.flush(self.model.now_ms);
        }
        assert_eq!(
            (self.store.held().0, self.store.pool().used_bytes()),
            (0, 0)
        );
    }
}

fn bytes(held: Held<'_>) -> Vec<u8> {
    let mut all = Vec::new();
    held.copy_to(&mut all).unwrap();
    all
}

fn key_of(act: &Act) -> Option<&model::Key> {
    match act {
        Act::Put { key, .. }
        | Act::Append(key, _)
        | Act::Get(key)
        | Act::Take(key)
        | Act::Expire(key, _)
        | Act::Keep(key, _) => Some(key),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_is_done_is_what_the_model_says(acts in model::acts(150)) {
        let mut both = Both::new();
        for (who, act) in &acts {
            both.act(*who, act);
        }
        let keys = acts.iter().filter_map(|(_, act)| key_of(act)).cloned();
        both.settle(&keys.collect());
    }
}
