//! The store of `turlough dev`, where nobody named another: one for all flow-functions on this machine, as
//! each host has one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turlough_datastore::{Backup, Config, DataUrl, Server, Settings as StoreSettings};
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
        let socket = folder.path().join("store.sock");
        let mut store = StoreSettings::from_environment();
        // Its buckets last as long as this one says.
        store.lease = store.lease.max(settings.data_lease);
        let server = Server::bind(Config {
            bounds: store.bounds(),
            spill: store.spill_to(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            address: None,
            socket: Some(socket.clone()),
            secrets: settings.secrets.clone(),
            peers: None,
            peers_root: None,
            backup: Backup::None,
            tls: None,
            value_bytes_max: store.value_bytes_max,
            connections_max: store.connections_max,
            workers: 1,
        });
        let server = server.await.map_err(Failure::platform)?;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let task = tokio::spawn(async move { server.run(stopping).await });
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
