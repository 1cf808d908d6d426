//! Who may see and control requests: whoever has the token of the secret `turlough-token`; where
//! there is no such secret, whoever is on this machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::engine::Engine;

/// Name of the secret.
const TOKEN: &str = "turlough-token";

pub(super) async fn guard(
    State(engine): State<Engine>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    // Read at each use, so that a changed secret counts at once; the file is small and cached.
    let path = engine.shared.settings.secrets.join(TOKEN);
    let token = match tokio::fs::read_to_string(&path).await {
        Ok(token) if !token.trim().is_empty() => Some(token),
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "token cannot be read");
            let text = "the token of this function cannot be read";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    match refusal(
        token.as_deref().map(str::trim),
        peer.ip(),
        request.headers(),
    ) {
        None => next.run(request).await,
        Some(text) => Problem::new(StatusCode::UNAUTHORIZED, text).into_response(),
    }
}

/// Why a caller is refused; none where it is let in.
fn refusal(token: Option<&str>, peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    if let Some(token) = token {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let given = given
            .and_then(|text| text.strip_prefix("Bearer "))
            .unwrap_or_default();
        let same: bool = given.as_bytes().ct_eq(token.as_bytes()).into();
        let text = "requests need the bearer token of the secret turlough-token; send Authorization: Bearer TOKEN";
        return (!same).then_some(text);
    }
    let local = peer.to_canonical().is_loopback()
        && forwarded_for_loopback(headers)
        && !foreign_page(headers);
    let text = "without a secret turlough-token, requests are shown to this machine alone; \
                create the secret, and send Authorization: Bearer TOKEN";
    (!local).then_some(text)
}

/// Behind a gateway on this machine the peer is the gateway; it tells for whom it asks.
fn forwarded_for_loopback(headers: &HeaderMap) -> bool {
    let hops = headers.get_all("x-forwarded-for").iter();
    let mut hops = hops.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    hops.all(|hop| {
        let hop = hop.trim();
        let address = hop
            .parse::<IpAddr>()
            .or_else(|_| hop.parse::<SocketAddr>().map(|a| a.ip()));
        address.is_ok_and(|address| address.to_canonical().is_loopback())
    })
}

/// A browser on this machine that shows a page from elsewhere says so.
fn foreign_page(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let host = origin
            .to_str()
            .unwrap_or_default()
            .split("://")
            .nth(1)
            .unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        !["localhost", "127.0.0.1", "[::1]"].contains(&name)
    })
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
}
