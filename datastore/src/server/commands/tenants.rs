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

/// What is said of a tenant's limits.
#[derive(Debug, Default)]
struct Said {
    soft: Option<u64>,
    hard: Option<u64>,
    flight: Option<u64>,
}

type Limit = fn(&mut Said) -> &mut Option<u64>;

const LIMITS: [(&str, Limit); 3] = [
    ("soft", |said| &mut said.soft),
    ("hard", |said| &mut said.hard),
    ("flight", |said| &mut said.flight),
];

/// `TENANT.SET name [SOFT bytes] [HARD bytes] [FLIGHT bytes]`. What is not said stays as it was; a soft limit
/// that a new hard one falls below follows from that.
pub(super) fn set(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let name = std::str::from_utf8(text(args, 1)?).unwrap_or_default();
    let name: turlough_sdk::TenantId = name
        .parse()
        .map_err(|error| Fault::new(format!("ERR {error}")))?;
    if !args.len().is_multiple_of(2) {
        return Err(Fault::syntax());
    }
    let mut said = Said::default();
    for n in (2..args.len()).step_by(2) {
        let limit = LIMITS.iter().find(|(word, _)| is_word(args, n, word));
        let (_, limit) = limit.ok_or_else(Fault::syntax)?;
        *limit(&mut said) = Some(natural(args, n + 1)?);
    }
    let store = &call.shared.store;
    let known = store.find(name.as_str());
    let now = known.map_or_else(|| store.quota(), |tenant| tenant.quota());
    let hard = said.hard.unwrap_or(now.hard);
    let soft = said.soft.or((now.soft <= hard).then_some(now.soft));
    let quota = Quota::said(hard, soft, said.flight.or(Some(now.flight)));
    let quota = quota.map_err(|error| Fault::new(format!("ERR {error}")))?;
    let tenant = store.tenant(name.as_str(), call.now_ms);
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
