//! A store's server in this process, for tests.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};
use turlough_datastore::data::{self, Options};
use turlough_datastore::{Backup, Config, DataStore, DataUrl, Quota, Server, Settings};

/// It ends when this is dropped.
pub(crate) struct LocalStore {
    pub(crate) store: Arc<dyn DataStore>,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

impl LocalStore {
    /// One with what holds where nobody says otherwise.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::from_environment().bounds().quota).await
    }

    /// One with limits for its tenant.
    pub(crate) async fn with(quota: Quota) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("store.sock");
        let limits = Settings::from_environment();
        let mut bounds = limits.bounds();
        bounds.quota = quota;
        let server = Server::bind(Config {
            bounds,
            spill: None,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            address: None,
            socket: Some(socket.clone()),
            secrets: folder.path().to_owned(),
            peers: None,
            peers_root: None,
            backup: Backup::None,
            tls: None,
            value_bytes_max: limits.value_bytes_max,
            connections_max: 100,
            buffers_bytes_max: limits.buffers_bytes_max,
            stalled: limits.stalled,
            workers: 1,
        });
        let (server, stop) = (server.await.unwrap(), CancellationToken::new());
        tokio::spawn(server.run(stop.clone()));
        let options = Options {
            secrets: folder.path().to_owned(),
            ..Options::new("default".parse().unwrap())
        };
        let url = DataUrl::Socket(socket);
        Self {
            store: data::open(&url, &options).await.unwrap(),
            _stop: stop.drop_guard(),
            _folder: folder,
        }
    }
}
