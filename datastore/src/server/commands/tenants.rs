//! What tenants may hold, and hold.

use super::{Call, Next, is_word, natural, text};
use crate::server::fault::Fault;
use crate::server::session::Speaker;
use crate::store::Quota;
use crate::wire::Args;

/// What a tenant holds and may hold: its own, or, for whoever administers, that of one that is named.
pub(super) fn stat(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let tenant = match (&call.session.speaker, args.len()) {
        (Speaker::Tenant(tenant), 1) => Some(tenant.clone()),
        (Speaker::Tenant(tenant), 2) if text(args, 1)? == tenant.name().as_bytes() => {
            Some(tenant.clone())
        }
        // Whether another is there is nobody's business.
        (Speaker::Tenant(_), 2) => {
            return Err(Fault::new("NOPERM a tenant sees itself alone"));
        }
        (Speaker::Admin, 2) => {
            let name = text(args, 1)?;
            std::str::from_utf8(name)
                .ok()
                .and_then(|name| call.shared.store.find(name))
        }
        (Speaker::Step(..), _) => return Err(Fault::new("NOPERM a step sees no tenant")),
        (Speaker::Admin, 1) => return Err(Fault::new("ERR say which: TENANT.STAT name")),
        _ => return Err(Fault::arity("tenant.stat")),
    };
    let Some(tenant) = tenant else {
        call.out.null();
        return Ok(Next::Done);
    };
    let (usage, quota) = (tenant.usage(call.now_ms), tenant.quota());
    call.out.map(9);
    for (name, number) in [
        ("bytes", usage.bytes),
        ("keys", usage.keys),
        ("buckets", usage.buckets),
        ("bytes_in_flight", usage.bytes_in_flight),
        ("refusals", usage.refusals),
        ("soft", quota.soft),
        ("hard", quota.hard),
        ("flight", quota.flight),
    ] {
        call.out.bulk(name.as_bytes());
        call.out.count(number);
    }
    call.out.bulk(b"byte_ms");
    call.out.big(usage.byte_ms);
    Ok(Next::Done)
}

type Limit = fn(&mut Quota) -> &mut u64;

const LIMITS: [(&str, Limit); 3] = [
    ("soft", |quota| &mut quota.soft),
    ("hard", |quota| &mut quota.hard),
    ("flight", |quota| &mut quota.flight),
];

/// `TENANT.SET name [SOFT bytes] [HARD bytes] [FLIGHT bytes]`
pub(super) fn set(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let name = std::str::from_utf8(text(args, 1)?).unwrap_or_default();
    let name: turlough_sdk::TenantId = name
        .parse()
        .map_err(|error| Fault::new(format!("ERR {error}")))?;
    if !args.len().is_multiple_of(2) {
        return Err(Fault::syntax());
    }
    let mut limits = Vec::new();
    for n in (2..args.len()).step_by(2) {
        let limit = LIMITS.iter().find(|(word, _)| is_word(args, n, word));
        let (_, limit) = limit.ok_or_else(Fault::syntax)?;
        limits.push((*limit, natural(args, n + 1)?));
    }
    let tenant = call.shared.store.tenant(name.as_str(), call.now_ms);
    let mut quota = tenant.quota();
    for (limit, bytes) in limits {
        *limit(&mut quota) = bytes;
    }
    tenant.set_quota(quota);
    call.ok()
}

pub(super) fn list(call: &mut Call<'_>, _: &mut Args<'_>) -> Result<Next, Fault> {
    let tenants = call.shared.store.tenants();
    call.out.array(tenants.len());
    for tenant in tenants {
        call.out.bulk(tenant.name().as_bytes());
    }
    Ok(Next::Done)
}
