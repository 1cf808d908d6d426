//! Keys, whatever stands under them.

use super::{Call, Next, is_word, key, natural, text};
use crate::server::fault::Fault;
use crate::wire::Args;

/// Keys that a step of a scan looks at where nobody says it.
pub(super) const COUNT: u64 = 10;

pub(super) fn del(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    for n in 1..args.len() {
        key(args, n)?;
    }
    let tenant = call.tenant()?;
    let mut gone = 0;
    for n in 1..args.len() {
        gone += i64::from(tenant.take(&key(args, n)?, call.now_ms).is_some());
    }
    call.int(gone)
}

pub(super) fn exists(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let tenant = call.tenant()?;
    let mut found = 0;
    for n in 1..args.len() {
        let is_there = tenant.get(&key(args, n)?, call.now_ms, |item| item.is_some());
        found += i64::from(is_there);
    }
    call.int(found)
}

pub(super) fn kind(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let is_there = call.tenant()?.get(&key, call.now_ms, |item| item.is_some());
    call.out.simple(if is_there { "string" } else { "none" });
    Ok(Next::Done)
}

pub(super) fn dbsize(call: &mut Call<'_>, _: &mut Args<'_>) -> Result<Next, Fault> {
    let keys = call.tenant()?.keys();
    call.out.count(keys);
    Ok(Next::Done)
}

/// Drops what the tenant holds, in the background whatever is asked for.
pub(super) fn flushdb(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let is_plain = match args.len() {
        1 => true,
        2 => is_word(args, 1, "async") || is_word(args, 1, "sync"),
        _ => false,
    };
    if !is_plain {
        return Err(Fault::syntax());
    }
    call.tenant()?.flush(call.now_ms);
    call.ok()
}

pub(super) fn cursor(args: &Args<'_>, n: usize) -> Result<u64, Fault> {
    let text = std::str::from_utf8(text(args, n)?).ok();
    let cursor = text.and_then(|text| text.parse().ok());
    cursor.ok_or_else(|| Fault::new("ERR invalid cursor"))
}

pub(super) fn scan(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let cursor = cursor(args, 1)?;
    let (mut pattern, mut count, mut is_string) = (None, COUNT, true);
    let mut n = 2;
    while n < args.len() {
        if n + 1 == args.len() {
            return Err(Fault::syntax());
        }
        if is_word(args, n, "match") {
            pattern = Some(text(args, n + 1)?);
        } else if is_word(args, n, "count") {
            count = natural(args, n + 1)?;
            if count == 0 {
                return Err(Fault::syntax());
            }
        } else if is_word(args, n, "type") {
            is_string = is_word(args, n + 1, "string");
        } else {
            return Err(Fault::syntax());
        }
        n += 2;
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (next, mut keys) = call.tenant()?.scan(cursor, count, pattern, call.now_ms);
    if !is_string {
        keys.clear();
    }
    page(call, next, &keys);
    Ok(Next::Done)
}

/// A step of a scan: where to go on, and what was found.
pub(super) fn page(call: &mut Call<'_>, next: u64, found: &[Vec<u8>]) {
    call.out.array(2);
    call.out.bulk(next.to_string().as_bytes());
    call.out.array(found.len());
    for name in found {
        call.out.bulk(name);
    }
}
