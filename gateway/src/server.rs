//! The HTTP server in front: it accepts, and hands each request to the proxy, to
//! the asynchronous calls or to the REST API. hyper directly, since a router would cost every call.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::asynchronous::AsyncCalls;
use crate::proxy::{CallBody, GatewayBody, Peer, Proxy, forget_callback, leave_callback};

/// Also how long a client may leave a connection idle; nginx's default.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Wait after a failed accept: out of file descriptors, which others must give back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) async_calls: AsyncCalls,
    pub(crate) rest: Router,
    pub(crate) connections_max: usize,
    pub(crate) drain_grace: Duration,
}

impl Server {
    /// Serves until `shutdown`, then gives open requests the grace time to end.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.connections_max));
        let drain_grace = self.drain_grace;
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let (stream, peer, permit) = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    observe(ended);
                    continue;
                }
                accepted = accept(&listener, &room) => accepted,
            };
            let connection = Arc::clone(&server).connection(stream, peer, shutdown.clone());
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        drop(listener);
        drain(connections, drain_grace).await;
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: Peer,
        shutdown: CancellationToken,
    ) {
        let peer = Arc::new(peer);
        let service = service_fn(move |request| {
            let (server, peer) = (Arc::clone(&self), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(server.respond(request, &peer).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            // In order: the connection has work far more often than the token.
            biased;
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "client connection ended early");
        }
    }

    async fn respond(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<GatewayBody> {
        let path = request.uri().path();
        if Proxy::owns(path) {
            forget_callback(request.headers_mut());
            leave_callback(request.headers_mut());
            return self.proxy.call(request.map(CallBody::Passing), peer).await;
        }
        if AsyncCalls::owns(path) {
            return self.async_calls.respond(request, peer).await;
        }
        let rest = TowerToHyperService::new(self.rest.clone());
        match rest.call(request).await {
            Ok(response) => response.map(GatewayBody::rest),
            Err(never) => match never {},
        }
    }
}

/// Waits for room, then for a client.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Peer, Option<OwnedSemaphorePermit>) {
    // An error means a closed semaphore, and nobody closes it.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "client connection is already gone");
                    continue;
                }
                return (stream, Peer::new(peer.ip()), permit);
            }
            Err(error) => {
                warn!(%error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn drain(mut connections: JoinSet<()>, grace: Duration) {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            observe(ended);
        }
    };
    if tokio::time::timeout(grace, all).await.is_err() {
        warn!(
            open = connections.len(),
            ?grace,
            "closing connections with requests in flight"
        );
        connections.shutdown().await;
    }
}

fn observe(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "client connection task failed");
    }
}
