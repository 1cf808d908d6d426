//! Values: put, read, changed.

use std::ops::Range;
use std::sync::Arc;

use super::expiry::{At, expires};
use super::{Call, Next, integer, is_word, key, text, value};
use crate::server::fault::Fault;
use crate::store::{Expires, Held, Item, Put, Tenant};
use crate::wire::Args;

pub(super) fn get(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let tenant = call.session.tenant().ok_or_else(super::no_tenant)?;
    let out = &mut call.out;
    tenant.get(&key, call.now_ms, |item| match item {
        Some(item) => out.value(item.value(), 0..item.value().len()),
        None => out.null(),
    });
    Ok(Next::Done)
}

pub(super) fn mset(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    if args.len().is_multiple_of(2) {
        return Err(Fault::arity("mset"));
    }
    let tenant = call.tenant()?;
    // What cannot be put is found before anything is.
    let mut bytes = 0;
    for n in (1..args.len()).step_by(2) {
        let key = key(args, n)?;
        tenant.may_put(&key)?;
        let small = args.get(n + 1).map_or(0, <[u8]>::len);
        bytes += crate::store::cost(key.name.len(), small);
    }
    drop(tenant.reserve(bytes)?);
    for n in (1..args.len()).step_by(2) {
        let key = key(args, n)?;
        let (value, reserved, flight) = value(args, n + 1)?;
        tenant.put(&key, value, reserved, Put::default(), call.now_ms, |_| {})?;
        drop(flight);
    }
    call.ok()
}

pub(super) fn mget(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let tenant = call.tenant()?;
    let mut bytes = 0;
    for n in 1..args.len() {
        let len = |item: Option<&Item>| item.map_or(0, |item| item.value().len());
        bytes += tenant.get(&key(args, n)?, call.now_ms, len);
    }
    let limit = call.shared.value_bytes_max;
    if bytes > limit {
        return Err(Fault::new(format!(
            "ERR values are {bytes} bytes together, limit {limit}; ask for fewer at once"
        )));
    }
    call.out.array(args.len() - 1);
    for n in 1..args.len() {
        let key = key(args, n)?;
        let out = &mut call.out;
        tenant.get(&key, call.now_ms, |item| match item {
            Some(item) => out.value(item.value(), 0..item.value().len()),
            None => out.null(),
        });
    }
    Ok(Next::Done)
}

pub(super) fn getdel(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let taken = call.tenant()?.take(&key(args, 1)?, call.now_ms);
    match taken {
        Some(item) => call.out.value(item.value(), 0..item.value().len()),
        None => call.out.null(),
    }
    Ok(Next::Done)
}

pub(super) fn getex(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let change = match args.len() {
        2 => Expires::AsBefore,
        3 if is_word(args, 2, "persist") => Expires::Never,
        4 => {
            let at = At::NAMES.iter().find(|(name, _)| is_word(args, 2, name));
            let (_, at) = at.ok_or_else(Fault::syntax)?;
            Expires::At(expires(*at, integer(args, 3)?, call.now_ms, "getex")?)
        }
        _ => return Err(Fault::syntax()),
    };
    let tenant: Arc<Tenant> = call.tenant()?;
    let out = &mut call.out;
    tenant.expire(&key, call.now_ms, |item| {
        match item {
            Some(item) => out.value(item.value(), 0..item.value().len()),
            None => out.null(),
        }
        change
    });
    Ok(Next::Done)
}

pub(super) fn getrange(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let (from, to) = (integer(args, 2)?, integer(args, 3)?);
    let tenant = call.tenant()?;
    let out = &mut call.out;
    tenant.get(&key, call.now_ms, |item| match item.map(Item::value) {
        Some(held) => out.value(held, part(from, to, held.len())),
        None => out.bulk(b""),
    });
    Ok(Next::Done)
}

/// A part of a value: its ends are in it, and negative ones count from the last byte, -1.
fn part(from: i64, to: i64, len: usize) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    if from < 0 && to < 0 && from > to {
        return 0..0;
    }
    let at = |place: i64| {
        if place < 0 {
            (len + place).max(0)
        } else {
            place
        }
    };
    let (from, to) = (at(from), at(to).min(len - 1));
    if from > to || len == 0 {
        return 0..0;
    }
    // Both are at most the length.
    from as usize..to as usize + 1
}

pub(super) fn strlen(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let len = call.tenant()?.get(&key, call.now_ms, |item| {
        item.map_or(0, |item| item.value().len())
    });
    call.out.count(len as u64);
    Ok(Next::Done)
}

pub(super) fn append(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    text(args, 1)?;
    let (more, reserved, flight) = value(args, 2)?;
    let tenant = call.tenant()?;
    let limit = call.shared.value_bytes_max;
    // What was reserved for the part is taken anew, for the whole.
    drop(reserved);
    let len = tenant.change(&key, call.now_ms, |old| {
        let len = old.map_or(0, Held::len) + more.len();
        if len > limit {
            return Err(Fault::new(format!(
                "ERR value would be {len} bytes, limit {limit}; split it, or raise TURLOUGH_STORE_VALUE_BYTES_MAX"
            )));
        }
        let mut all = Vec::with_capacity(len);
        for held in old.into_iter().chain([more.held()]) {
            held.copy_to(&mut all)
                .map_err(|away| Fault::new(format!("BUSY {away}")))?;
        }
        Ok(all)
    })?;
    drop(flight);
    call.out.count(len as u64);
    Ok(Next::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_redis() {
        for (from, to, len, expect) in [
            (0, 3, 16, 0..4),
            (-3, -1, 16, 13..16),
            (0, -1, 16, 0..16),
            (10, 100, 16, 10..16),
            (5, 3, 16, 0..0),
            (-1, -3, 16, 0..0),
            (-100, 2, 16, 0..3),
            (16, 20, 16, 0..0),
            (0, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 4, 0..4),
        ] {
            assert_eq!(part(from, to, len), expect, "{from} {to} {len}");
        }
    }
}
