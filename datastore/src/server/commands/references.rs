//! Where values lie, and values by where they lie.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::{Call, Next, allow_key, key, text};
use crate::peers::NotFetched;
use crate::reference::Reference;
use crate::server::fault::Fault;
use crate::server::wait::Wait;
use crate::store::{Key, Made};
use crate::wire::Args;

/// A digest of more bytes is computed apart: it takes as long as a few commands.
const DIGESTED_MAX: usize = 1 << 20;

/// Where a value lies, and its digest.
pub(super) fn bucket_ref(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let Some((made, backup)) = call.tenant()?.read(&key, call.now_ms) else {
        call.out.null();
        return Ok(Next::Done);
    };
    if let Some(next) = digest_first(&made) {
        return Ok(next);
    }
    let held = made.held();
    let reference = Reference {
        store: call.shared.address.clone(),
        boot: call.shared.boot,
        key: key.whole(),
        size: held.len() as u64,
        digest: held.digest(),
        backup: backup.map(|store| store.to_string()),
    };
    let boot = format!("{:016x}", reference.boot);
    let whole = reference.to_string();
    let digest = reference.digest.to_string();
    call.out.map(8);
    for (name, text) in [
        ("store", reference.store.as_bytes()),
        ("boot", boot.as_bytes()),
        ("bucket", key.bucket),
        ("key", key.name),
        ("digest", digest.as_bytes()),
        ("reference", whole.as_bytes()),
    ] {
        call.out.bulk(name.as_bytes());
        call.out.bulk(text);
    }
    call.out.bulk(b"backup");
    match &reference.backup {
        Some(backup) => call.out.bulk(backup.as_bytes()),
        None => call.out.null(),
    }
    call.out.bulk(b"size");
    call.out.count(reference.size);
    Ok(Next::Done)
}

/// Has the digest of a large value computed first, where nobody did.
fn digest_first(made: &Made) -> Option<Next> {
    let Made::Large(blob) = made else { return None };
    if blob.has_digest() || blob.len() <= DIGESTED_MAX {
        return None;
    }
    let blob = Arc::clone(blob);
    let digest = move || {
        blob.digest();
        Ok(())
    };
    Some(Next::Again(tokio::task::spawn_blocking(digest)))
}

/// The value at a reference, wherever it lies.
pub(super) fn ref_get(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let reference = std::str::from_utf8(text(args, 1)?).unwrap_or_default();
    let reference: Reference = reference
        .parse()
        .map_err(|error| Fault::new(format!("ERR {error}")))?;
    if let Some(step) = call.session.step() {
        allow_key(step, &reference.key, false)?;
    }
    let tenant = call.tenant()?;
    let peers = &call.shared.peers;
    if let Some(key) = peers.key_here(&reference)
        && let Some((made, _)) = tenant.read(&Key::parse(&key)?, call.now_ms)
    {
        if let Some(next) = call.load(&[Key::parse(&key)?]) {
            return Ok(next);
        }
        if let Some(next) = digest_first(&made) {
            return Ok(next);
        }
        let held = made.held();
        if held.len() as u64 == reference.size && held.digest() == reference.digest {
            call.out.value(held, 0..held.len());
            return Ok(Next::Done);
        }
    }
    let limit = call.shared.value_bytes_max;
    if reference.size > limit as u64 {
        return Err(Fault::new(format!(
            "ERR value is {} bytes, limit {limit}; raise TURLOUGH_STORE_VALUE_BYTES_MAX",
            reference.size
        )));
    }
    let flight = tenant.fly(reference.size)?;
    let (peers, pool) = (Arc::clone(peers), Arc::clone(call.shared.store.pool()));
    let runtime = peers.runtime().clone();
    // It ends with the connection that asked for it.
    let read = AbortOnDropHandle::new(runtime.spawn(async move {
        let fetched = peers.fetch(tenant.id(), &reference).await;
        let made = fetched.map(|bytes| Made::new(&pool, bytes));
        Ok((made.map_err(|error| error.fault())?, flight))
    }));
    Ok(Next::Wait(Wait::Read(read)))
}

impl NotFetched {
    fn fault(&self) -> Fault {
        Fault::new(match self {
            Self::Lost { .. } => format!("LOST {self}"),
            Self::Away { .. } => format!("BUSY {self}"),
        })
    }
}
