//! When values go by themselves.

use super::{Call, Next, integer, is_word, key, said};
use crate::server::clock::unix_ms;
use crate::server::fault::Fault;
use crate::store::{Expires, Item};
use crate::wire::Args;

/// How a time is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Seconds,
    Millis,
    UnixSeconds,
    UnixMillis,
}

impl At {
    pub(super) const NAMES: [(&'static str, Self); 4] = [
        ("ex", Self::Seconds),
        ("px", Self::Millis),
        ("exat", Self::UnixSeconds),
        ("pxat", Self::UnixMillis),
    ];

    /// The time in ms of Unix time; none where it is too far off.
    fn unix_ms(self, number: i64) -> Option<i64> {
        let now_ms = i64::try_from(unix_ms()).ok()?;
        match self {
            Self::Seconds => number.checked_mul(1_000)?.checked_add(now_ms),
            Self::Millis => number.checked_add(now_ms),
            Self::UnixSeconds => number.checked_mul(1_000),
            Self::UnixMillis => Some(number),
        }
    }
}

/// The store's time of a Unix time, in ms.
fn own_ms(unix: i64, now_ms: u64) -> u64 {
    let ahead = i128::from(unix) - i128::from(unix_ms());
    u64::try_from(i128::from(now_ms) + ahead).unwrap_or(0)
}

/// When a value goes that is put now, in the store's time.
pub(super) fn expires(at: At, number: i64, now_ms: u64, command: &str) -> Result<u64, Fault> {
    if number <= 0 {
        return Err(Fault::expiry(command));
    }
    let unix = at.unix_ms(number).ok_or_else(|| Fault::expiry(command))?;
    Ok(own_ms(unix, now_ms))
}

pub(super) fn expire(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    set(call, args, At::Seconds)
}

pub(super) fn pexpire(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    set(call, args, At::Millis)
}

pub(super) fn expireat(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    set(call, args, At::UnixSeconds)
}

pub(super) fn pexpireat(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    set(call, args, At::UnixMillis)
}

/// Sets the time of a value that is there; one that is over takes it away.
fn set(call: &mut Call<'_>, args: &mut Args<'_>, at: At) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let when = When::of(args)?;
    let number = integer(args, 2)?;
    let unix = at
        .unix_ms(number)
        .ok_or_else(|| Fault::expiry(&said(args)))?;
    let at_ms = own_ms(unix, call.now_ms);
    let is_done = call.tenant()?.expire(&key, call.now_ms, |item| {
        let is_meant = item.is_some_and(|item| when.holds(item.expires_ms(), at_ms));
        if is_meant {
            Expires::At(at_ms)
        } else {
            Expires::AsBefore
        }
    });
    call.int(i64::from(is_done))
}

/// What must be so of the time that was set before.
#[derive(Debug, Clone, Copy, Default)]
struct When {
    none: bool,
    some: bool,
    later: bool,
    sooner: bool,
}

impl When {
    fn of(args: &Args<'_>) -> Result<Self, Fault> {
        let mut when = Self::default();
        for n in 3..args.len() {
            let is = |word: &str| is_word(args, n, word);
            let option = if is("nx") {
                &mut when.none
            } else if is("xx") {
                &mut when.some
            } else if is("gt") {
                &mut when.later
            } else if is("lt") {
                &mut when.sooner
            } else {
                let option = args.get(n).unwrap_or_default().escape_ascii();
                return Err(Fault::new(format!("ERR Unsupported option {option}")));
            };
            *option = true;
        }
        if when.none && (when.some || when.later || when.sooner) {
            return Err(Fault::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if when.later && when.sooner {
            return Err(Fault::new(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(when)
    }

    /// One that stays goes later than any other.
    fn holds(self, before_ms: Option<u64>, at_ms: u64) -> bool {
        !(self.none && before_ms.is_some()
            || self.some && before_ms.is_none()
            || self.later && before_ms.is_none_or(|before_ms| at_ms <= before_ms)
            || self.sooner && before_ms.is_some_and(|before_ms| at_ms >= before_ms))
    }
}

pub(super) fn persist(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let tenant = call.tenant()?;
    let is_done = tenant.expire(&key, call.now_ms, |item| {
        match item.and_then(Item::expires_ms) {
            Some(_) => Expires::Never,
            None => Expires::AsBefore,
        }
    });
    call.int(i64::from(is_done))
}

/// Has `tell` make the answer of the ms that are left, -1 where a value stays, -2 where there is none.
fn left(call: &mut Call<'_>, args: &Args<'_>, tell: impl Fn(i64) -> i64) -> Result<Next, Fault> {
    let key = key(args, 1)?;
    let now_ms = call.now_ms;
    let found = call
        .tenant()?
        .get(&key, now_ms, |item| item.map(Item::expires_ms));
    let answer = match found {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => tell(i64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(i64::MAX)),
    };
    call.int(answer)
}

pub(super) fn ttl(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    left(call, args, |left_ms| left_ms.saturating_add(500) / 1_000)
}

pub(super) fn pttl(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    left(call, args, |left_ms| left_ms)
}

pub(super) fn expiretime(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    left(call, args, |left_ms| {
        unix_after(left_ms).saturating_add(500) / 1_000
    })
}

pub(super) fn pexpiretime(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    left(call, args, unix_after)
}

fn unix_after(left_ms: i64) -> i64 {
    i64::try_from(unix_ms())
        .unwrap_or(i64::MAX)
        .saturating_add(left_ms)
}
