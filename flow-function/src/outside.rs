//! Addresses outside the platform: which may be called, and a client that calls no other.
//!
//! Invariants: an address is judged where it is used, as the URL's own literal and as the answer of
//! the DNS that the connection is made to, so that a name cannot change its meaning in between;
//! redirects and proxies are not followed.
//! Absent: which public addresses may be called; that is a network policy's business.

mod client;
mod https;

pub(crate) use client::{CallError, Outside, chain, with_sources, without_url};

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;

/// Most rules: they are read one after the other at each call.
const RULES_MAX: usize = 1_000;

/// Addresses that are called though they are not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAllow(Arc<[Rule]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// Private networks, but neither this machine nor what is only on its link.
    Private,
    Net(IpNet),
    /// A name, in lower case, on one port or on all.
    Host(String, Option<u16>),
}

impl FromStr for HttpAllow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim);
        let rules = words.filter(|word| !word.is_empty()).map(rule);
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let found = rules.len();
        if found > RULES_MAX {
            return Err(format!(
                "{found} addresses, limit {RULES_MAX}; write networks"
            ));
        }
        Ok(Self(rules.into()))
    }
}

impl HttpAllow {
    /// Every address: for what whoever starts the process has named.
    pub(crate) fn all() -> Self {
        let every = [
            IpNet::from(Ipv4Net::default()),
            IpNet::from(Ipv6Net::default()),
        ];
        Self(every.map(Rule::Net).into())
    }

    /// This machine, at its loopback address.
    pub(crate) fn loopback() -> Self {
        Self(Arc::new([Rule::Net(IpNet::from(IpAddr::from(
            Ipv4Addr::LOCALHOST,
        )))]))
    }
}

fn rule(word: &str) -> Result<Rule, String> {
    let wrong = || {
        let word: String = word.chars().take(80).collect();
        format!("{word:?} is no host, host:port, network such as 10.0.0.0/8, or private")
    };
    if word == "private" {
        return Ok(Rule::Private);
    }
    if word.contains('/') {
        return word.parse().map(Rule::Net).map_err(|_| wrong());
    }
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(Rule::Net(address.into()));
    }
    // As a URL has it, so that both are compared in one spelling.
    let url = Url::parse(&format!("http://{word}/")).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?.trim_end_matches('.');
    let plain = url.username().is_empty() && url.path() == "/" && url.query().is_none();
    if host.is_empty() || !plain || url.fragment().is_some() {
        return Err(wrong());
    }
    let port = word
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'));
    let port = port
        .map(|(_, port)| port.parse().map_err(|_| wrong()))
        .transpose()?;
    Ok(Rule::Host(host.to_owned(), port))
}

impl HttpAllow {
    /// Whether an address may be called, and if not what it is.
    fn judge(&self, address: IpAddr) -> Result<(), &'static str> {
        let Some(kind) = Kind::of(address) else {
            return Ok(());
        };
        let plain = address.to_canonical();
        let allows = |rule: &Rule| match rule {
            Rule::Private => kind == Kind::Private,
            Rule::Net(net) => net.contains(&address) || net.contains(&plain),
            Rule::Host(..) => false,
        };
        if self.0.iter().any(allows) {
            Ok(())
        } else {
            Err(kind.text())
        }
    }

    /// The ports on which a host is allowed by its name; none where it is not named.
    fn named(&self, host: &str) -> Option<Vec<Option<u16>>> {
        let host = host.trim_end_matches('.');
        let port = |rule: &Rule| match rule {
            Rule::Host(name, port) if name.eq_ignore_ascii_case(host) => Some(*port),
            _ => None,
        };
        let ports: Vec<_> = self.0.iter().filter_map(port).collect();
        (!ports.is_empty()).then_some(ports)
    }
}

/// What an address is that is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loopback,
    Private,
    LinkLocal,
    Unspecified,
    Multicast,
    Reserved,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Loopback => "this machine's own",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        }
    }

    /// None for a public address.
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Option<Self> {
        let kind = match address.octets() {
            [127, ..] => Self::Loopback,
            [0, ..] => Self::Unspecified,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            [169, 254, ..] => Self::LinkLocal,
            [224..=239, ..] => Self::Multicast,
            // Broadcast and what was never given out; protocol assignments; benchmarks.
            [240..=255, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => Self::Reserved,
            _ => return None,
        };
        Some(kind)
    }

    fn of_v6(address: Ipv6Addr) -> Option<Self> {
        let kind = match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            // An IPv4 address in another dress: mapped, compatible, translated, and by 6to4.
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                return Self::of_v4(Ipv4Addr::new(a, b, c, d));
            }
            [0xfc00..=0xfdff, ..] => Self::Private,
            [0xfe80..=0xfeff, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            // Translation and tunnels of somebody's own.
            [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Self::Reserved,
            _ => return None,
        };
        Some(kind)
    }
}

/// An address that may not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    host: String,
    kind: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, kind } = self;
        write!(
            f,
            "address {host} is {kind}; allow it by TURLOUGH_HTTP_ALLOW"
        )
    }
}

impl Error for Refused {}

impl Refused {
    /// The refusal that made a call fail, if one did.
    pub(crate) fn of(error: &CallError) -> Option<&Self> {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(refused) = cause.downcast_ref() {
                return Some(refused);
            }
            source = cause.source();
        }
        None
    }
}

/// Reads a URL that is about to be called. Where its host is a name, what it stands for is judged
/// when the call is made.
///
/// # Errors
/// Why it may not be called.
pub(crate) fn check_url(text: &str, allow: &HttpAllow) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("scheme {} is neither http nor https", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default();
    let ports = allow.named(host).unwrap_or_default();
    if ports
        .iter()
        .any(|allowed| allowed.is_none() || *allowed == port)
    {
        return Ok(url);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        allow.judge(address).map_err(|kind| {
            let host = host.to_owned();
            Refused { host, kind }.to_string()
        })?;
    } else if !ports.is_empty() {
        // The resolver sees the name alone, and so the port is held to here.
        return Err(format!(
            "TURLOUGH_HTTP_ALLOW allows {host} on other ports alone"
        ));
    }
    Ok(url)
}

/// Of the addresses that a name stands for, those that may be called.
fn judged(
    allow: &HttpAllow,
    host: &str,
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, Refused> {
    if allow.named(host).is_some() {
        return Ok(found);
    }
    let mut refused = None;
    let mut left = found;
    left.retain(|address| match allow.judge(address.ip()) {
        Ok(()) => true,
        Err(kind) => {
            refused = Some(kind);
            false
        }
    });
    match refused {
        Some(kind) if left.is_empty() => Err(Refused {
            host: host.to_owned(),
            kind,
        }),
        _ => Ok(left),
    }
}

#[cfg(test)]
mod tests;
