//! Connections: accepted, bounded in number and in patience, closed at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderName, HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// How long a call took, as OpenFaaS's functions say it.
const DURATION: HeaderName = HeaderName::from_static("x-duration-seconds");
/// How long a request's head may take, and how long a connection may be idle: longer than the 90 s
/// after which HTTP clients commonly let go, so that they never reuse one that is just closed.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(120);
/// Wait after a failed accept: out of file descriptors, which others must give back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long answers may take after the grace time of their requests: they are being written.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// When to let go of clients.
#[derive(Debug, Clone)]
pub(super) struct Until {
    /// From here on an answer is a connection's last: its client opens the next one elsewhere.
    pub(super) leaving: CancellationToken,
    /// From here on nothing new is taken.
    pub(super) closing: CancellationToken,
}

/// Serves until `closing`, so many connections at once; further ones wait in the kernel's queue. What it
/// returns are the connections that are open then.
pub(super) async fn serve(
    listener: &TcpListener,
    router: Router,
    most: usize,
    until: Until,
) -> JoinSet<()> {
    let room = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = until.closing.cancelled() => break,
            Some(ended) = connections.join_next() => observe(ended),
            (stream, peer, permit) = accept(listener, &room) => {
                let connection = connection(stream, peer, router.clone(), until.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
    }
    connections
}

/// Answers in progress have a moment to be written.
pub(super) async fn finish(mut connections: JoinSet<()>) {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            observe(ended);
        }
    };
    if tokio::time::timeout(CLOSE_GRACE, all).await.is_err() {
        warn!(
            open = connections.len(),
            "closing connections that were still in use"
        );
        connections.shutdown().await;
    }
}

/// Waits for room, then for a client.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // An error means a closed semaphore, and nobody closes it.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small answers wait for acknowledgements; where it cannot be set they do.
                drop(stream.set_nodelay(true));
                return (stream, peer, permit);
            }
            Err(error) => {
                warn!(%error, "connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    Until { leaving, closing }: Until,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (begun, answer) = (Instant::now(), router.call(request));
        let leaving = leaving.clone();
        async move {
            let mut answer = answer.await?;
            let took = format!("{:.6}", begun.elapsed().as_secs_f64());
            if let Ok(took) = HeaderValue::try_from(took) {
                answer.headers_mut().insert(DURATION, took);
            }
            if leaving.is_cancelled() {
                let last = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, last);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // In order: the connection has work far more often than the token.
        biased;
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

fn observe(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "connection was lost to a panic");
    }
}
