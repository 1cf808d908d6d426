//! Requests' buckets, and what Redis has nothing of.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{COUNT, cursor, page};
use super::{Call, Next, bucket, is_word, key, natural, text};
use crate::peers::{PeerError, Word};
use crate::server::clock::unix_ms;
use crate::server::fault::Fault;
use crate::server::wait::Wait;
use crate::store::{Holds, Tenant};
use crate::wire::Args;

/// The longest wait for a value, the longest lease and the longest keeping, in ms: an hour, 30 days.
const WAIT_MS_MAX: u64 = 3_600_000;
const LEASE_MS_MAX: u64 = 2_592_000_000;

pub(super) fn drop_bucket(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let (name, epoch) = (bucket(args, 1)?, natural(args, 2)?);
    if let Some(store) = elsewhere(call, args, 3)? {
        let bucket = name.to_vec();
        return pass_on(call, &store, Word::Drop { bucket, epoch });
    }
    let tenant = call.tenant()?;
    let copies = tenant.copied_to(name);
    let holds = tenant.drop_bucket(name, epoch, call.now_ms)?;
    tell_copies(call, &tenant, name, &copies, |bucket| Word::Drop {
        bucket,
        epoch,
    });
    call.out.map(4);
    tell(call, &holds);
    Ok(Next::Done)
}

/// The other store that `AT` names.
fn elsewhere(call: &Call<'_>, args: &Args<'_>, n: usize) -> Result<Option<Arc<str>>, Fault> {
    if args.len() == n {
        return Ok(None);
    }
    if args.len() != n + 2 || !is_word(args, n, "at") {
        return Err(Fault::syntax());
    }
    let store = String::from_utf8_lossy(text(args, n + 1)?);
    if *store == *call.shared.address {
        return Ok(None);
    }
    let known = call.shared.peers.known_as(&store);
    known.map(Some).ok_or_else(|| {
        Fault::new(format!(
            "ERR store {store} is none of those that TURLOUGH_STORE_PEERS names"
        ))
    })
}

/// Has another store do it, as this tenant.
fn pass_on(call: &Call<'_>, store: &Arc<str>, word: Word) -> Result<Next, Fault> {
    let tenant = call.tenant()?;
    let said = call.shared.peers.ask(store, tenant.id(), word);
    Ok(Next::Wait(Wait::PassedOn(said)))
}

/// What another store did not do.
pub(crate) fn not_done(error: PeerError) -> Fault {
    Fault::new(match error {
        // It begins with the code.
        PeerError::Refused { why, .. } => why,
        error => format!("BUSY {error}"),
    })
}

/// Tells those that have copies of a bucket's values.
fn tell_copies(
    call: &Call<'_>,
    tenant: &Tenant,
    name: &[u8],
    copies: &[Arc<str>],
    word: impl Fn(Vec<u8>) -> Word,
) {
    let peers = &call.shared.peers;
    for store in copies {
        peers.tell(store, tenant.id(), word(peers.copy_bucket(name)));
    }
}

fn tell(call: &mut Call<'_>, holds: &Holds) {
    for (name, number) in [
        ("keys", holds.keys),
        ("bytes", holds.bytes),
        ("bytes_peak", holds.bytes_peak),
    ] {
        call.out.bulk(name.as_bytes());
        call.out.count(number);
    }
    call.out.bulk(b"byte_ms");
    call.out.big(holds.byte_ms);
}

pub(super) fn stat(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let name = bucket(args, 1)?;
    let tenant = call.tenant()?;
    let shard = tenant.bucket_shard(name);
    let found = shard.buckets.get(name).filter(|bucket| !bucket.is_dropped);
    let found = found.map(|it| (it.holds(call.now_ms), it.epoch, it.lease_ms));
    drop(shard);
    let Some((holds, epoch, lease_ms)) = found else {
        call.out.null();
        return Ok(Next::Done);
    };
    call.out.map(6);
    tell(call, &holds);
    for (name, number) in [
        ("epoch", epoch),
        ("lease_ms", lease_ms.saturating_sub(call.now_ms)),
    ] {
        call.out.bulk(name.as_bytes());
        call.out.count(number);
    }
    Ok(Next::Done)
}

/// A time of so many ms from now, within a limit.
fn within(call: &Call<'_>, ms: u64, limit_ms: u64, what: &str) -> Result<u64, Fault> {
    if ms > limit_ms {
        return Err(Fault::new(format!(
            "ERR {what} is {ms} ms, limit {limit_ms}"
        )));
    }
    Ok(call.now_ms + ms)
}

pub(super) fn lease(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let (name, epoch, ms) = (bucket(args, 1)?, natural(args, 2)?, natural(args, 3)?);
    let lease_ms = within(call, ms, LEASE_MS_MAX, "lease")?;
    if let Some(store) = elsewhere(call, args, 4)? {
        let bucket = name.to_vec();
        return pass_on(call, &store, Word::Lease { bucket, epoch, ms });
    }
    let tenant = call.tenant()?;
    let is_there = tenant.lease(name, epoch, lease_ms)?;
    let copies = tenant.copied_to(name);
    tell_copies(call, &tenant, name, &copies, |bucket| Word::Lease {
        bucket,
        epoch,
        ms,
    });
    call.int(i64::from(is_there))
}

pub(super) fn list(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let cursor = cursor(args, 1)?;
    let count = match args.len() {
        2 => COUNT,
        4 if is_word(args, 2, "count") => natural(args, 3)?,
        _ => return Err(Fault::syntax()),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (next, names) = call.tenant()?.list_buckets(cursor, count);
    page(call, next, &names);
    Ok(Next::Done)
}

/// Has a value outlive its request.
pub(super) fn keep(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let (key, ms) = (key(args, 1)?, natural(args, 2)?);
    if !key.has_bucket() {
        return Err(Fault::new(
            "ERR this key lies in no bucket, and stays; use EXPIRE to have it go",
        ));
    }
    let until_ms = within(call, ms, LEASE_MS_MAX, "keeping")?;
    let is_there = call.tenant()?.keep(&key, until_ms, call.now_ms);
    call.int(i64::from(is_there))
}

/// Waits until something is put under a key, for so many ms; 0 for the longest.
pub(super) fn block_get(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let (key, ms) = (key(args, 1)?, natural(args, 2)?);
    within(call, ms, WAIT_MS_MAX, "wait")?;
    let ms = if ms == 0 { WAIT_MS_MAX } else { ms };
    call.tenant()?;
    // A credential's end is the end of what it waits for, too.
    let left = call
        .session
        .step()
        .map(|step| step.until_unix_ms.saturating_sub(unix_ms()));
    let ms = left.map_or(ms, |left| left.min(ms));
    Ok(Next::Wait(Wait::Value {
        key: key.whole(),
        until: Box::pin(tokio::time::sleep(Duration::from_millis(ms))),
    }))
}
