//! What stands before functions that are no servers: it listens as they would, and starts a process for
//! each request, or serves a folder.
//!
//! OpenFaaS's classic watchdog does so in the function's container. A request's body is the process's
//! input, its output the answer. Up to [`WHOLE_BYTES_MAX`] of it are awaited, so that the process's end
//! still decides the status; a longer answer streams, and breaks off where the process fails.

mod fork;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_http::services::ServeDir;
use tracing::error;

use super::log::FunctionLog;
use super::{Mode, ProcessSpec, Shared};
use crate::functions::Function;
use fork::Forker;

/// Processes at once of one replica that says nothing of it by `max_inflight`.
const PROCESSES_MAX: usize = 64;

/// What is held of an answer before it is sent.
const WHOLE_BYTES_MAX: usize = 64 << 10;

/// Dropped, it serves no more, and its processes are killed.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) address: SocketAddr,
    _stop: DropGuard,
}

impl Watchdog {
    pub(super) async fn start(
        function: &Arc<Function>,
        process: &Arc<ProcessSpec>,
        log: &FunctionLog,
        shared: &Arc<Shared>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let router = match process.mode {
            Mode::Static => Router::new().fallback_service(ServeDir::new(&process.directory)),
            Mode::Http | Mode::Fork => {
                let max = process.environment.get("max_inflight");
                let max = max.and_then(|text| text.trim().parse().ok());
                let max = max.filter(|max| *max > 0).unwrap_or(PROCESSES_MAX);
                let forker = Arc::new(Forker {
                    function: Arc::clone(function),
                    process: Arc::clone(process),
                    log: log.clone(),
                    shared: Arc::clone(shared),
                    room: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
                    stop: stop.clone(),
                });
                Router::new().fallback(move |request: Request| forker.answer(request))
            }
        };
        let (function, until) = (function.name().clone(), stop.clone());
        tokio::spawn(async move {
            let served =
                axum::serve(listener, router).with_graceful_shutdown(until.cancelled_owned());
            if let Err(error) = served.await {
                error!(%function, %error, "cannot serve a function's requests");
            }
        });
        Ok(Self {
            address,
            _stop: stop.drop_guard(),
        })
    }
}
