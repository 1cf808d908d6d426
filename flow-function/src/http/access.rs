//! Who may see and control requests: whoever has the token of the secret `turlough-token`; where
//! there is no such secret, whoever is on this machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::engine::Engine;

/// By what proxies tell for whom they ask.
const FORWARDED_FOR: [&str; 4] = [
    "x-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

pub(super) async fn guard(
    State(engine): State<Engine>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let token = match engine.shared.settings.token().await {
        Ok(token) => token,
        Err(error) => {
            tracing::error!(%error, "token cannot be read");
            let text = "the token of this function cannot be read, or is empty";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    match refusal(token.as_deref(), peer.ip(), request.headers()) {
        None => next.run(request).await,
        Some(text) => Problem::new(StatusCode::UNAUTHORIZED, text).into_response(),
    }
}

/// Why a caller is refused; none where it is let in.
fn refusal(token: Option<&str>, peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    if let Some(token) = token {
        let given = bearer(headers).unwrap_or_default();
        let same: bool = given.as_bytes().ct_eq(token.as_bytes()).into();
        let text = "requests need the bearer token of the secret turlough-token; send Authorization: Bearer TOKEN";
        return (!same).then_some(text);
    }
    let local = peer.to_canonical().is_loopback()
        && forwarded_for_loopback(headers)
        && hosts_are_here(headers)
        && !foreign_page(headers);
    let text = "without a secret turlough-token, requests are shown to this machine alone; \
                create the secret, and send Authorization: Bearer TOKEN";
    (!local).then_some(text)
}

/// The one token that a caller sends; of several nobody knows which one a proxy meant.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Behind a gateway on this machine the peer is the gateway; it tells for whom it asks, by one of
/// the headers that proxies use. `Forwarded` may hide an address, and no gateway of ours sends it.
fn forwarded_for_loopback(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::FORWARDED) {
        return false;
    }
    let named = FORWARDED_FOR.iter().flat_map(|name| headers.get_all(*name));
    let mut hops = named.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    hops.all(|hop| {
        let hop = hop.trim();
        let address = hop
            .parse::<IpAddr>()
            .or_else(|_| hop.parse::<SocketAddr>().map(|a| a.ip()));
        address.is_ok_and(|address| address.to_canonical().is_loopback())
    })
}

/// A name that anybody may point at this machine (DNS rebinding) is not this machine's.
fn hosts_are_here(headers: &HeaderMap) -> bool {
    let hosts = headers.get_all(header::HOST).iter();
    let mut hosts = hosts.chain(headers.get_all("x-forwarded-host"));
    hosts.all(|host| host.to_str().is_ok_and(|host| is_here(host.trim())))
}

/// A browser on this machine that shows a page from elsewhere says so.
fn foreign_page(headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        !origin
            .split_once("://")
            .is_some_and(|(_, host)| is_here(host))
    })
}

/// Whether a host, with or without a port, is this machine by a name that only it can have.
fn is_here(host: &str) -> bool {
    let named = host
        .parse::<Authority>()
        .is_ok_and(|authority| authority.host().eq_ignore_ascii_case("localhost"));
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    let address = address.or_else(|_| {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        bare.unwrap_or(host).parse::<IpAddr>()
    });
    (named && !host.contains('@'))
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(token: Option<&str>, peer: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        refusal(token, peer.parse().unwrap(), &map).is_some()
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        assert!(!refused(None, "127.0.0.1", &[]));
        assert!(!refused(None, "::ffff:127.0.0.1", &[]));
        assert!(refused(None, "192.0.2.7", &[]));
    }

    #[test]
    fn a_gateway_on_this_machine_does_not_lend_its_address() {
        assert!(!refused(
            None,
            "127.0.0.1",
            &[("x-forwarded-for", "127.0.0.1:5000")]
        ));
        assert!(refused(
            None,
            "127.0.0.1",
            &[("x-forwarded-for", "192.0.2.7")]
        ));
        assert!(refused(
            None,
            "127.0.0.1",
            &[("x-forwarded-for", "127.0.0.1, 192.0.2.7")]
        ));
        let forged = [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert!(refused(None, "127.0.0.1", &forged));
        assert!(refused(
            None,
            "127.0.0.1",
            &[("x-forwarded-for", "unknown")]
        ));
    }

    #[test]
    fn with_a_token_nothing_else_counts() {
        assert!(refused(Some("secret"), "127.0.0.1", &[]));
        assert!(refused(
            Some("secret"),
            "127.0.0.1",
            &[("authorization", "Bearer secre")]
        ));
        assert!(!refused(
            Some("secret"),
            "192.0.2.7",
            &[("authorization", "Bearer secret")]
        ));
    }

    #[test]
    fn a_page_from_elsewhere_in_a_browser_here_is_refused() {
        assert!(refused(
            None,
            "127.0.0.1",
            &[("origin", "https://example.org")]
        ));
        assert!(refused(None, "127.0.0.1", &[("origin", "null")]));
        assert!(!refused(
            None,
            "127.0.0.1",
            &[("origin", "http://localhost:8080")]
        ));
    }

    #[test]
    fn every_way_of_saying_for_whom_a_proxy_asks_counts() {
        for name in [
            "x-forwarded-for",
            "x-real-ip",
            "x-client-ip",
            "true-client-ip",
        ] {
            assert!(refused(None, "127.0.0.1", &[(name, "192.0.2.7")]), "{name}");
            assert!(refused(None, "127.0.0.1", &[(name, "")]), "{name}");
            assert!(
                refused(None, "127.0.0.1", &[(name, "::ffff:192.0.2.7")]),
                "{name}"
            );
            assert!(!refused(None, "127.0.0.1", &[(name, " ::1 ")]), "{name}");
        }
        assert!(refused(
            None,
            "127.0.0.1",
            &[("forwarded", "for=192.0.2.7")]
        ));
        assert!(refused(None, "127.0.0.1", &[("forwarded", "for=_hidden")]));
    }

    #[test]
    fn a_name_that_is_pointed_at_this_machine_is_refused() {
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "x@localhost",
            "",
        ] {
            assert!(refused(None, "127.0.0.1", &[("host", host)]), "{host:?}");
            assert!(
                refused(None, "127.0.0.1", &[("x-forwarded-host", host)]),
                "{host:?}"
            );
        }
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(!refused(None, "127.0.0.1", &[("host", host)]), "{host:?}");
        }
        let two = [
            ("origin", "http://localhost"),
            ("origin", "https://example.org"),
        ];
        assert!(refused(None, "127.0.0.1", &two));
        assert!(!refused(None, "127.0.0.1", &[("origin", "http://[::1]")]));
    }

    #[test]
    fn one_token_is_sent_in_any_spelling_of_its_scheme() {
        assert!(!refused(
            Some("s"),
            "192.0.2.7",
            &[("authorization", "bearer s ")]
        ));
        let two = [("authorization", "Bearer s"), ("authorization", "Bearer x")];
        assert!(refused(Some("s"), "192.0.2.7", &two));
        assert!(refused(
            Some("s"),
            "192.0.2.7",
            &[("authorization", "Basic s")]
        ));
    }
}
