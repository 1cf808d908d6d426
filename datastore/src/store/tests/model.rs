//! What a store is meant to do, as plainly as it can be written: one list for each bucket, and every sum
//! made anew. What is done to it at random, too. The tests of the process have the same, over the wire.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

pub(crate) const TENANTS: usize = 3;
const OVERHEAD: u64 = 64;
const BUCKET_COST: u64 = 256;
/// Keys without a bucket: they lie in one that has no name and never goes.
const PLAIN: &str = "";
const NAMES: [&str; 8] = ["", "a", "b", "c/d", "e", "f", "a-longer-name", "h"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// By the tenant's limit.
    Quota,
    /// By the store's.
    Full,
    Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Always,
    Absent,
    Present,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    Forever,
    AsBefore,
    /// So many ms from now.
    For(u64),
}

/// A key: the number of its bucket, where it lies in one, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) bucket: String,
    pub(crate) name: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) value: Vec<u8>,
    pub(crate) expires_ms: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    items: BTreeMap<String, Item>,
    kept: BTreeMap<String, u64>,
    pub(crate) epoch: u64,
    pub(crate) lease_ms: u64,
    pub(crate) is_dropped: bool,
    peak: u64,
    byte_ms: u128,
}

/// What is told of a bucket: keys, bytes, the most bytes at once, bytes over time.
pub(crate) type Told = (u64, u64, u64, u128);

#[derive(Debug, Clone, Default)]
pub(crate) struct Tenant {
    pub(crate) hard: u64,
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) byte_ms: u128,
    pub(crate) refusals: u64,
    /// In how many places the store has spread keys without a bucket, each of which counts as one.
    pub(crate) places: u64,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) now_ms: u64,
    bytes_max: u64,
    lease_ms: u64,
}

/// The epoch of a claim, by how far it is from the newest that its bucket has heard of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim(i64);

/// A put, but for its key.
#[derive(Debug, Clone)]
pub(crate) struct Putting {
    /// A byte, so many times.
    pub(crate) value: (u8, usize),
    pub(crate) claim: Option<Claim>,
    pub(crate) wanted: Wanted,
    pub(crate) lasts: Lasts,
}

impl Key {
    pub(crate) fn whole(&self) -> String {
        match self.bucket.as_str() {
            PLAIN => self.name.clone(),
            bucket => format!("{{{bucket}}}{}", self.name),
        }
    }
}

impl Putting {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (byte, len) = self.value;
        vec![byte; len]
    }
}

impl Item {
    fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

impl Bucket {
    fn bytes(&self) -> u64 {
        let cost = |(name, item): (&String, &Item)| name.len() + item.value.len();
        let bytes: usize = self.items.iter().map(cost).sum();
        bytes as u64 + self.items.len() as u64 * OVERHEAD
    }

    pub(crate) fn told(&self) -> Told {
        (
            self.items.len() as u64,
            self.bytes(),
            self.peak,
            self.byte_ms,
        )
    }

    fn refuses(&self, epoch: u64) -> bool {
        epoch < self.epoch || (self.is_dropped && epoch == self.epoch)
    }

    /// Empties it but for what is kept, which goes in its own time.
    fn clear(&mut self, now_ms: u64) {
        self.is_dropped = true;
        self.kept.retain(|_, until_ms| *until_ms > now_ms);
        let kept = &self.kept;
        self.items.retain(|name, _| kept.contains_key(name));
        for (name, item) in &mut self.items {
            let until_ms = kept[name];
            item.expires_ms = Some(
                item.expires_ms
                    .map_or(until_ms, |at_ms| at_ms.min(until_ms)),
            );
        }
    }

    fn remove(&mut self, name: &str) -> Option<Item> {
        self.kept.remove(name);
        self.items.remove(name)
    }
}

impl Tenant {
    pub(crate) fn bytes(&self) -> u64 {
        let held: u64 = self.buckets.values().map(Bucket::bytes).sum();
        held + self.bucket_count() * BUCKET_COST
    }

    /// Buckets with a name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&String, &Bucket)> {
        self.buckets.iter().filter(|(name, _)| *name != PLAIN)
    }

    pub(crate) fn bucket_count(&self) -> u64 {
        self.named().count() as u64 + self.places
    }

    /// Keys that are counted: those that are over, and were not taken away yet, are.
    pub(crate) fn keys(&self) -> u64 {
        let keys = self.buckets.values().map(|bucket| bucket.items.len());
        keys.sum::<usize>() as u64
    }
}

impl Model {
    pub(crate) fn new(bytes_max: u64, hard: u64, lease_ms: u64) -> Self {
        let tenant = Tenant {
            hard,
            ..Tenant::default()
        };
        Self {
            tenants: vec![tenant; TENANTS],
            now_ms: 0,
            bytes_max,
            lease_ms,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.tenants.iter().map(Tenant::bytes).sum()
    }

    pub(crate) fn get(&self, who: usize, key: &Key) -> Option<&Item> {
        let item = self.tenants[who]
            .buckets
            .get(&key.bucket)?
            .items
            .get(&key.name)?;
        (!item.is_over(self.now_ms)).then_some(item)
    }

    /// The epoch of a claim on a bucket.
    pub(crate) fn epoch(&self, who: usize, bucket: &str, claim: Claim) -> u64 {
        let bucket = self.tenants[who].buckets.get(bucket);
        bucket
            .map_or(1, |it| it.epoch)
            .saturating_add_signed(claim.0)
    }

    /// All keys that can be read.
    pub(crate) fn seen(&self, who: usize) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for (bucket, held) in &self.tenants[who].buckets {
            for (name, _) in held
                .items
                .iter()
                .filter(|(_, item)| !item.is_over(self.now_ms))
            {
                let key = Key {
                    bucket: bucket.clone(),
                    name: name.clone(),
                };
                seen.insert(key.whole());
            }
        }
        seen
    }

    pub(crate) fn put(&mut self, who: usize, key: &Key, put: &Putting) -> Result<bool, Refused> {
        let epoch = put.claim.map(|claim| self.epoch(who, &key.bucket, claim));
        self.has_room(who, key, put.value.1)?;
        let now_ms = self.now_ms;
        let old = self.get(who, key).map(|old| old.expires_ms);
        let is_wanted = match put.wanted {
            Wanted::Always => true,
            Wanted::Absent => old.is_none(),
            Wanted::Present => old.is_some(),
        };
        let buckets = &mut self.tenants[who].buckets;
        if !is_wanted {
            if let (Some(bucket), Some(epoch)) = (buckets.get_mut(&key.bucket), epoch) {
                if bucket.refuses(epoch) {
                    return Err(Refused::Epoch);
                }
                if !bucket.is_dropped {
                    bucket.epoch = epoch;
                }
            }
            return Ok(false);
        }
        let expires_ms = match put.lasts {
            Lasts::Forever => None,
            Lasts::AsBefore => old.flatten(),
            Lasts::For(ms) => Some(now_ms + ms),
        };
        let item = Item {
            value: put.bytes(),
            expires_ms,
        };
        self.place(who, key, epoch, item)?;
        Ok(true)
    }

    pub(crate) fn append(&mut self, who: usize, key: &Key, more: &[u8]) -> Result<usize, Refused> {
        let old = self.get(who, key).cloned();
        let mut item = old.unwrap_or(Item {
            value: Vec::new(),
            expires_ms: None,
        });
        item.value.extend_from_slice(more);
        let len = item.value.len();
        self.has_room(who, key, len)?;
        self.place(who, key, None, item)?;
        Ok(len)
    }

    /// What is put must fit beside what it takes the place of.
    fn has_room(&mut self, who: usize, key: &Key, len: usize) -> Result<(), Refused> {
        self.has_room_for(who, (key.name.len() + len) as u64 + OVERHEAD)
    }

    fn has_room_for(&mut self, who: usize, cost: u64) -> Result<(), Refused> {
        let is_full = self.bytes() + cost > self.bytes_max;
        let tenant = &mut self.tenants[who];
        let refused = match tenant.bytes() + cost > tenant.hard {
            true => Refused::Quota,
            false if is_full => Refused::Full,
            false => return Ok(()),
        };
        tenant.refusals += 1;
        Err(refused)
    }

    fn place(
        &mut self,
        who: usize,
        key: &Key,
        epoch: Option<u64>,
        item: Item,
    ) -> Result<(), Refused> {
        let lease_ms = match key.bucket.as_str() {
            PLAIN => u64::MAX,
            _ => self.now_ms + self.lease_ms,
        };
        let born = Bucket {
            epoch: epoch.unwrap_or(0),
            lease_ms,
            ..Bucket::default()
        };
        let buckets = &mut self.tenants[who].buckets;
        let bucket = buckets.entry(key.bucket.clone()).or_insert(born);
        let epoch = epoch.unwrap_or(bucket.epoch);
        if bucket.refuses(epoch) {
            return Err(Refused::Epoch);
        }
        if bucket.is_dropped {
            bucket.is_dropped = false;
            bucket.lease_ms = bucket.lease_ms.max(lease_ms);
        }
        bucket.epoch = epoch;
        bucket.items.insert(key.name.clone(), item);
        bucket.peak = bucket.peak.max(bucket.bytes());
        Ok(())
    }

    pub(crate) fn take(&mut self, who: usize, key: &Key) -> Option<Item> {
        let now_ms = self.now_ms;
        let bucket = self.tenants[who].buckets.get_mut(&key.bucket)?;
        bucket
            .remove(&key.name)
            .filter(|item| !item.is_over(now_ms))
    }

    /// Has a value go after so many ms, or stay.
    pub(crate) fn expire(&mut self, who: usize, key: &Key, after_ms: Option<u64>) -> bool {
        let is_there = self.get(who, key).is_some();
        if is_there {
            let bucket = self.tenants[who].buckets.get_mut(&key.bucket).unwrap();
            let item = bucket.items.get_mut(&key.name).unwrap();
            item.expires_ms = after_ms.map(|ms| self.now_ms + ms);
            if after_ms == Some(0) {
                bucket.remove(&key.name);
            }
        }
        is_there
    }

    pub(crate) fn keep(&mut self, who: usize, key: &Key, ms: u64) -> bool {
        let is_there = self.get(who, key).is_some();
        if is_there {
            let bucket = self.tenants[who].buckets.get_mut(&key.bucket).unwrap();
            let until_ms = self.now_ms + ms;
            bucket.kept.insert(key.name.clone(), until_ms);
            if bucket.is_dropped {
                bucket.items.get_mut(&key.name).unwrap().expires_ms = Some(until_ms);
            }
        }
        is_there
    }

    pub(crate) fn drop_bucket(
        &mut self,
        who: usize,
        name: &str,
        epoch: u64,
    ) -> Result<Told, Refused> {
        let born = Bucket {
            epoch,
            lease_ms: self.now_ms + self.lease_ms,
            ..Bucket::default()
        };
        if !self.tenants[who].buckets.contains_key(name) {
            self.has_room_for(who, BUCKET_COST)?;
        }
        let buckets = &mut self.tenants[who].buckets;
        let bucket = buckets.entry(name.to_owned()).or_insert(born);
        // The same drop once more is no late one.
        if epoch < bucket.epoch {
            return Err(Refused::Epoch);
        }
        let told = bucket.told();
        bucket.epoch = epoch;
        bucket.clear(self.now_ms);
        Ok(told)
    }

    pub(crate) fn lease(
        &mut self,
        who: usize,
        name: &str,
        epoch: u64,
        ms: u64,
    ) -> Result<bool, Refused> {
        let Some(bucket) = self.tenants[who].buckets.get_mut(name) else {
            return Ok(false);
        };
        if epoch < bucket.epoch {
            return Err(Refused::Epoch);
        }
        if bucket.is_dropped {
            return Ok(false);
        }
        bucket.epoch = epoch;
        bucket.lease_ms = self.now_ms + ms;
        Ok(true)
    }

    pub(crate) fn flush(&mut self, who: usize) {
        self.tenants[who].buckets.clear();
        self.tenants[who].places = 0;
    }

    /// Time goes on to a moment.
    pub(crate) fn pass(&mut self, now_ms: u64) {
        let gone_ms = u128::from(now_ms - self.now_ms);
        self.now_ms = now_ms;
        for tenant in &mut self.tenants {
            for bucket in tenant.buckets.values_mut() {
                let byte_ms = u128::from(bucket.bytes()) * gone_ms;
                bucket.byte_ms += byte_ms;
                tenant.byte_ms += byte_ms;
            }
        }
    }

    /// When something goes by itself next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let buckets = self
            .tenants
            .iter()
            .flat_map(|tenant| tenant.buckets.values());
        let dues = buckets.flat_map(|bucket| {
            let items = bucket.items.values().filter_map(|item| item.expires_ms);
            items.chain([bucket.lease_ms])
        });
        dues.min().filter(|at_ms| *at_ms < u64::MAX)
    }

    /// Takes away what is over.
    pub(crate) fn sweep(&mut self) {
        let now_ms = self.now_ms;
        for tenant in &mut self.tenants {
            tenant.buckets.retain(|_, bucket| {
                if bucket.lease_ms <= now_ms {
                    bucket.clear(now_ms);
                    // What is kept has its bucket stay with it.
                    bucket.lease_ms = bucket.kept.values().copied().max().unwrap_or(0);
                }
                bucket.lease_ms > now_ms
            });
            for bucket in tenant.buckets.values_mut() {
                let over = bucket.items.iter().filter(|(_, item)| item.is_over(now_ms));
                let over: Vec<_> = over.map(|(name, _)| name.clone()).collect();
                for name in over {
                    bucket.remove(&name);
                }
            }
        }
    }
}

/// A scan that others' doings come between.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) cursor: u64,
    /// What was there from its first step on.
    stayed: BTreeSet<String>,
    /// What was there at any time.
    ever: BTreeSet<String>,
    met: BTreeSet<String>,
}

impl Scan {
    pub(crate) fn of(seen: &BTreeSet<String>) -> Self {
        Self {
            cursor: 0,
            stayed: seen.clone(),
            ever: seen.clone(),
            met: BTreeSet::new(),
        }
    }

    /// Something may have been done.
    pub(crate) fn goes_on(&mut self, seen: BTreeSet<String>) {
        self.stayed.retain(|key| seen.contains(key));
        self.ever.extend(seen);
    }

    /// A step is done; whether it was the last.
    pub(crate) fn step(&mut self, next: u64, keys: Vec<Vec<u8>>) -> bool {
        let keys = keys.into_iter().map(|key| String::from_utf8(key).unwrap());
        self.met.extend(keys);
        self.cursor = next;
        if next != 0 {
            return false;
        }
        let missed: Vec<_> = self.stayed.difference(&self.met).collect();
        let made_up: Vec<_> = self.met.difference(&self.ever).collect();
        assert!(
            missed.is_empty() && made_up.is_empty(),
            "missed {missed:?}, made up {made_up:?}"
        );
        true
    }
}

/// What is done at random. Most of it is of a tenant, by its number.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Put {
        key: Key,
        put: Putting,
        /// Whether its bytes are announced before they are there, as large ones are.
        is_announced: bool,
    },
    Append(Key, usize),
    Get(Key),
    Take(Key),
    /// Has it go after so many ms, or stay.
    Expire(Key, Option<u64>),
    Keep(Key, u64),
    Drop(String, Claim),
    Lease(String, Claim, u64),
    /// A step of a scan, with what else is done between.
    Scan(usize),
    List(usize),
    Quota(u64),
    Flush,
    /// Time goes on; what is over is taken away when it is.
    Pass(u64),
    /// Time goes on to where something is over, which nobody has taken away yet.
    Reach,
}

fn bucket() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("r".to_owned()), 1 => Just("other".to_owned()), 1 => Just("s".to_owned())]
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        5 => bucket_key(),
        1 => (0..4).prop_map(|n| Key { bucket: PLAIN.to_owned(), name: format!("plain{n}") }),
    ]
}

fn bucket_key() -> impl Strategy<Value = Key> {
    let name = prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    (bucket(), name).prop_map(|(bucket, name)| Key { bucket, name })
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..50_usize, 2 => 2_000..4_000_usize, 1 => 17_000..20_000_usize]
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![1 => Just(Claim(-1)), 3 => Just(Claim(0)), 3 => Just(Claim(1))]
}

fn ms() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 6 => 1..3_000_u64, 1 => 10_000..40_000_u64]
}

fn putting() -> impl Strategy<Value = Putting> {
    let wanted = prop_oneof![
        4 => Just(Wanted::Always),
        1 => Just(Wanted::Absent),
        1 => Just(Wanted::Present),
    ];
    let lasts = prop_oneof![
        4 => Just(Lasts::Forever),
        1 => Just(Lasts::AsBefore),
        2 => ms().prop_map(Lasts::For),
    ];
    let value = (any::<u8>(), len());
    (value, prop::option::of(claim()), wanted, lasts).prop_map(|(value, claim, wanted, lasts)| {
        Putting {
            value,
            claim,
            wanted,
            lasts,
        }
    })
}

fn act() -> impl Strategy<Value = Act> {
    let put = (key(), putting(), any::<bool>());
    let put = put.prop_map(|(key, mut put, is_announced)| {
        // An epoch is of a bucket.
        put.claim = put.claim.filter(|_| key.bucket != PLAIN);
        Act::Put {
            key,
            put,
            is_announced,
        }
    });
    prop_oneof![
        16 => put,
        2 => (key(), len()).prop_map(|(key, len)| Act::Append(key, len)),
        2 => key().prop_map(Act::Get),
        2 => key().prop_map(Act::Take),
        2 => (key(), prop::option::of(ms())).prop_map(|(key, ms)| Act::Expire(key, ms)),
        4 => (bucket_key(), ms()).prop_map(|(key, ms)| Act::Keep(key, ms)),
        3 => (bucket(), claim()).prop_map(|(bucket, claim)| Act::Drop(bucket, claim)),
        2 => (bucket(), claim(), ms()).prop_map(|(bucket, claim, ms)| Act::Lease(bucket, claim, ms)),
        5 => (1..6_usize).prop_map(Act::Scan),
        1 => (1..4_usize).prop_map(Act::List),
        1 => (0..80_000_u64).prop_map(Act::Quota),
        1 => Just(Act::Flush),
        4 => ms().prop_map(Act::Pass),
        2 => Just(Act::Reach),
    ]
}

/// What is done by which tenant.
pub(crate) fn acts(most: usize) -> impl Strategy<Value = Vec<(usize, Act)>> {
    // The first does most.
    let who = prop_oneof![4 => Just(0), 1 => 1..TENANTS];
    prop::collection::vec((who, act()), 1..most)
}
