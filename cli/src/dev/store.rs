//! The store of `turlough dev`, where nobody named another: one for all flow-functions on this machine, as
//! each host has one.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turlough_datastore::{DataUrl, Settings as StoreSettings, StoreProcess};
use turlough_flow_function::Settings;

use crate::exit::Failure;

/// What says where the data of requests is kept.
pub(super) const DATA: &str = "TURLOUGH_DATA";

/// A store in this process.
#[derive(Debug)]
pub(super) struct DevStore {
    socket: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl DevStore {
    /// Starts one where nobody says where data is kept.
    pub(super) async fn start(settings: &Settings) -> Result<Option<Self>, Failure> {
        if std::env::var_os(DATA).is_some() {
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("cannot make a folder for the store's socket");
        let folder = folder.map_err(Failure::platform)?;
        let mut store = StoreSettings::from_environment();
        // As a store's process is set, but for where it listens: many of these may run on one machine.
        if std::env::var_os("TURLOUGH_LISTEN").is_none() {
            store.listen = Ipv4Addr::LOCALHOST.into();
        }
        if std::env::var_os("TURLOUGH_STORE_PORT").is_none() {
            store.port = 0;
        }
        if std::env::var_os("TURLOUGH_STORE_METRICS_PORT").is_none() {
            store.metrics_port = 0;
        }
        let own = || folder.path().join("store.sock");
        let socket = store.socket.get_or_insert_with(own).clone();
        // Its buckets last as long as this one says.
        store.lease = store.lease.max(settings.data_lease);
        store.secrets.clone_from(&settings.secrets);
        store.workers.get_or_insert(1);
        // Who used it has ended before it.
        store.drain = Duration::ZERO;
        let process = StoreProcess::open(&store)
            .await
            .map_err(Failure::platform)?;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let task = tokio::spawn(process.run(stopping));
        Ok(Some(Self {
            socket,
            stop,
            task,
            _folder: folder,
        }))
    }

    /// Where it is.
    pub(super) fn url(&self) -> DataUrl {
        DataUrl::Socket(self.socket.clone())
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!("the store did not stop well: {error:#}");
        }
    }
}
