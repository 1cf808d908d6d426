//! A function that does nothing but show that it was called: a number is answered with the next one.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serves the no-op function on 127.0.0.1
#[derive(Debug, Args)]
pub(crate) struct NoopArguments {
    /// Port to listen on
    #[arg(long, env = "port", default_value_t = 8080)]
    port: u16,
}

pub(crate) async fn run(arguments: NoopArguments) -> anyhow::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let listener = TcpListener::bind(address)
        .await?
        .tap_io(|stream| drop(stream.set_nodelay(true)));
    let mut terminated = signal(SignalKind::terminate())?;
    axum::serve(listener, router())
        .with_graceful_shutdown(async move {
            terminated.recv().await;
        })
        .await?;
    Ok(true)
}

fn router() -> Router {
    Router::new()
        .route("/_/health", get(|| async { "OK" }))
        .fallback(next)
}

async fn next(body: Bytes) -> Response {
    match successor(&body) {
        Some(next) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, next.to_string()).into_response()
        }
        None => (StatusCode::UNPROCESSABLE_ENTITY, "not a number").into_response(),
    }
}

fn successor(body: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(body).ok()?.trim().parse().ok()?;
    number.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_followed_by_the_next_and_nothing_else_is_a_number() {
        assert_eq!(successor(b" 41\n"), Some(42));
        for wrong in [
            &b""[..],
            b"x",
            b"-1",
            b"1.5",
            b"\xff",
            b"18446744073709551615",
        ] {
            assert_eq!(successor(wrong), None);
        }
    }
}
