//! `SET` and its kin: a value is put, and a copy of it given to another store where that is wanted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::expiry::{At, expires};
use super::{Call, Next, integer, is_word, key, natural, said, value};
use crate::peers::{Backup, COPY_MARK_BYTES, PeerError, Word};
use crate::server::fault::Fault;
use crate::server::wait::Wait;
use crate::store::{
    Expires, InFlight, Item, KEY_BYTES_MAX, Key, Made, Only, Put, Reserved, Tenant, Value,
};
use crate::wire::{Args, Outbox};

/// What a put is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    /// Whether it was done: OK, or nothing.
    #[default]
    Done,
    /// The same, as 1 or 0.
    Number,
    /// What stood there.
    Old,
}

/// What is said beside the value.
#[derive(Debug, Clone, Default)]
struct Options {
    how: Put,
    told: Told,
    backup: Option<Backup>,
}

/// A put, but for its key and its value.
#[derive(Debug)]
struct Putting {
    tenant: Arc<Tenant>,
    how: Put,
    told: Told,
    reserved: Option<Reserved>,
    /// What is in flight ends with the put.
    _flight: Option<InFlight>,
}

/// A put that waits until another store has its copy.
#[derive(Debug)]
pub(crate) struct Copying {
    heard: oneshot::Receiver<Result<(), PeerError>>,
    key: Vec<u8>,
    value: Made,
    putting: Option<Putting>,
}

pub(super) fn set(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let options = options(call, args)?;
    put(call, args, &key, 2, options)
}

pub(super) fn setnx(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let mut options = Options::default();
    options.how.only = Only::Absent;
    options.told = Told::Number;
    put(call, args, &key, 2, options)
}

pub(super) fn getset(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let options = Options {
        told: Told::Old,
        ..Options::default()
    };
    put(call, args, &key, 2, options)
}

pub(super) fn setex(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    timed(call, args, At::Seconds)
}

pub(super) fn psetex(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    timed(call, args, At::Millis)
}

fn timed(call: &mut Call<'_>, args: &mut Args<'_>, at: At) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let at_ms = expires(at, integer(args, 2)?, call.now_ms, &said(args))?;
    let mut options = Options::default();
    options.how.expires = Expires::At(at_ms);
    put(call, args, &key, 3, options)
}

/// What follows a value in `SET`.
fn options(call: &Call<'_>, args: &Args<'_>) -> Result<Options, Fault> {
    let mut options = Options::default();
    let how = &mut options.how;
    let mut is_timed = false;
    let mut n = 3;
    while n < args.len() {
        let is = |word: &str| is_word(args, n, word);
        let at = At::NAMES.iter().find(|(name, _)| is(name));
        let has_more = n + 1 < args.len();
        if is("nx") && how.only != Only::Present {
            how.only = Only::Absent;
        } else if is("xx") && how.only != Only::Absent {
            how.only = Only::Present;
        } else if is("get") {
            options.told = Told::Old;
        } else if is("keepttl") && !is_timed {
            how.expires = Expires::AsBefore;
            is_timed = true;
        } else if is("epoch") && has_more {
            n += 1;
            how.epoch = Some(natural(args, n)?);
        } else if is("backup") && has_more {
            n += 1;
            let named = |backup: &&Backup| is_word(args, n, backup.name());
            let found = Backup::ALL.iter().find(named).copied();
            options.backup = Some(found.ok_or_else(Fault::syntax)?);
        } else if let (Some((_, at)), true, false) = (at, has_more, is_timed) {
            n += 1;
            how.expires = Expires::At(expires(*at, integer(args, n)?, call.now_ms, "set")?);
            is_timed = true;
        } else {
            return Err(Fault::syntax());
        }
        n += 1;
    }
    Ok(options)
}

fn put(
    call: &mut Call<'_>,
    args: &mut Args<'_>,
    key: &Key<'_>,
    n: usize,
    options: Options,
) -> Result<Next, Fault> {
    let Options {
        mut how,
        told,
        backup,
    } = options;
    if let Some(step) = call.session.step() {
        // Whatever it says: it has the claim of its driver, or of who took over while it worked.
        let newest = call.tenant()?.epoch_of(key.bucket);
        how.epoch = Some(step.epoch.max(newest.unwrap_or(0)));
        if how.expires != Expires::default() {
            return Err(Fault::new(
                "NOPERM a step's output lasts as long as its request; put it without an expiry",
            ));
        }
        if how.only == Only::Always {
            if let Some(next) = put_before(call, args, key, n)? {
                return Ok(next);
            }
            how.only = Only::Absent;
        }
    }
    if how.epoch.is_some() && !key.has_bucket() {
        return Err(Fault::new(
            "ERR an epoch is of a bucket, and this key lies in none; write it as {bucket}name",
        ));
    }
    let backup = backup_for(call, key, backup)?;
    let tenant = call.tenant()?;
    let (value, reserved, flight) = value(args, n)?;
    let mut putting = Putting {
        tenant,
        how,
        told,
        reserved,
        _flight: flight,
    };
    // What is not put needs no copy.
    if backup == Backup::None || !putting.is_wanted(key, call.now_ms) {
        putting.finish(key, value, call.out, call.now_ms)?;
        return Ok(Next::Done);
    }
    let peers = &call.shared.peers;
    let tenant_id = putting.tenant.id();
    let store = peers.choose(tenant_id, key.bucket, call.now_ms);
    if backup == Backup::Async {
        putting.how.copy = store.ok();
        return copied_behind(call, putting, key, value);
    }
    let store = store.map_err(no_backup)?;
    let kept = Made::of(value.held());
    let (tenant, epoch) = (Arc::clone(&putting.tenant), putting.how.epoch);
    let heard = copy(call, &tenant, &store, key, kept.again(), epoch).map_err(no_backup)?;
    putting.how.copy = Some(store);
    Ok(Next::Wait(Wait::Copy(Box::new(Copying {
        heard,
        key: key.whole(),
        value: kept,
        putting: Some(putting),
    }))))
}

/// Puts a value, and has it copied behind the answer, where there is a store for that.
fn copied_behind(
    call: &mut Call<'_>,
    putting: Putting,
    key: &Key<'_>,
    value: Value<'_>,
) -> Result<Next, Fault> {
    let peers = &call.shared.peers;
    let (how, tenant) = (putting.how.clone(), Arc::clone(&putting.tenant));
    let kept = Made::of(value.held());
    putting.finish(key, value, call.out, call.now_ms)?;
    let Some(store) = how.copy else {
        peers.counts().fail();
        return Ok(Next::Done);
    };
    match copy(call, &tenant, &store, key, kept, how.epoch) {
        Ok(heard) => drop(
            peers
                .runtime()
                .spawn(hear(heard, tenant, key.whole(), store)),
        ),
        Err(_) => tenant.was_not_copied(key, &store),
    }
    Ok(Next::Done)
}

/// What a step is told whose output is there already: the same may be put again, and no other.
fn put_before(
    call: &mut Call<'_>,
    args: &mut Args<'_>,
    key: &Key<'_>,
    n: usize,
) -> Result<Option<Next>, Fault> {
    let Some((made, _)) = call.tenant()?.read(key, call.now_ms) else {
        return Ok(None);
    };
    if let Some(next) = call.load(std::slice::from_ref(key)) {
        return Ok(Some(next));
    }
    let (value, ..) = value(args, n)?;
    let (there, comes) = (made.held(), value.held());
    if there.len() != comes.len() || there.digest() != comes.digest() {
        return Err(Fault::new(
            "NOPERM another value is under this key; a step puts its output once",
        ));
    }
    call.out.ok();
    Ok(Some(Next::Done))
}

/// Whether a put is to be copied: what it says, or what the store was told for all.
fn backup_for(call: &Call<'_>, key: &Key<'_>, said: Option<Backup>) -> Result<Backup, Fault> {
    let backup = match said {
        None if key.has_bucket() => call.shared.backup,
        None => Backup::None,
        Some(said) => said,
    };
    if backup == Backup::None {
        return Ok(backup);
    }
    if !key.has_bucket() {
        return Err(Fault::new(
            "ERR a backup is of a bucket's value, and this key lies in none; write it as {bucket}name",
        ));
    }
    let (bytes, limit) = (key.whole().len(), KEY_BYTES_MAX - COPY_MARK_BYTES);
    if bytes > limit {
        return Err(Fault::new(format!(
            "ERR key is {bytes} bytes, limit {limit} for one with a backup; shorten it, by a hash for instance"
        )));
    }
    Ok(backup)
}

/// Gives another store a copy; whether it has it is told by what is given back.
fn copy(
    call: &Call<'_>,
    tenant: &Arc<Tenant>,
    store: &Arc<str>,
    key: &Key<'_>,
    value: Made,
    epoch: Option<u64>,
) -> Result<oneshot::Receiver<Result<(), PeerError>>, PeerError> {
    let peers = &call.shared.peers;
    let bucket = peers.copy_bucket(key.bucket);
    let at = Key {
        bucket: &bucket,
        name: key.name,
    };
    let word = Word::Put {
        key: at.whole(),
        value,
        epoch,
    };
    let heard = peers.say(store, tenant.id(), word)?;
    if let Some((epoch, ms)) = tenant.long_lease(key.bucket, call.now_ms) {
        peers.tell(store, tenant.id(), Word::Lease { bucket, epoch, ms });
    }
    Ok(heard)
}

/// Waits for what came of a copy: a reference names no store that has none.
async fn hear(
    heard: oneshot::Receiver<Result<(), PeerError>>,
    tenant: Arc<Tenant>,
    key: Vec<u8>,
    store: Arc<str>,
) {
    if let (Err(_) | Ok(Err(_)), Ok(key)) = (heard.await, Key::parse(&key)) {
        tenant.was_not_copied(&key, &store);
    }
}

fn no_backup(error: PeerError) -> Fault {
    Fault::new(format!(
        "NOBACKUP value is not stored, since no other store has a copy of it: {error}"
    ))
}

impl Putting {
    /// Whether the value would be put, as things stand.
    fn is_wanted(&self, key: &Key<'_>, now_ms: u64) -> bool {
        match self.how.only {
            Only::Always => true,
            only => {
                let is_there = self.tenant.get(key, now_ms, |item| item.is_some());
                is_there == (only == Only::Present)
            }
        }
    }

    /// Puts the value, and answers.
    fn finish(
        self,
        key: &Key<'_>,
        value: Value<'_>,
        out: &mut Outbox,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let mut old = None;
        let look = |item: Option<&Item>| {
            if self.told == Told::Old {
                old = item.map(|item| Made::of(item.value()));
            }
        };
        let is_done = self
            .tenant
            .put(key, value, self.reserved, self.how, now_ms, look)?;
        match (self.told, old, is_done) {
            (Told::Old, Some(old), _) => out.value(old.held(), 0..old.held().len()),
            (Told::Done, _, true) => out.ok(),
            (Told::Number, _, is_done) => out.int(i64::from(is_done)),
            (Told::Old, None, _) | (Told::Done, _, false) => out.null(),
        }
        Ok(())
    }
}

impl Copying {
    /// Puts the value once its copy was heard of, and answers.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        now_ms: u64,
    ) -> Poll<Result<(), Fault>> {
        let heard = ready!(Pin::new(&mut self.heard).poll(cx));
        if let Ok(Err(error)) = heard {
            return Poll::Ready(Err(no_backup(error)));
        }
        let (Ok(_), Some(putting), Ok(key)) = (heard, self.putting.take(), Key::parse(&self.key))
        else {
            return Poll::Ready(Err(Fault::closing()));
        };
        Poll::Ready(putting.finish(&key, self.value.lent(), out, now_ms))
    }
}
