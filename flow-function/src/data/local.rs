//! A store's server in this process, for tests.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use turlough_datastore::data::{self, Options};
use turlough_datastore::{Backup, Config, DataStore, DataUrl, Quota, Server, Settings};

/// It ends when this is dropped.
pub(crate) struct LocalStore {
    pub(crate) store: Arc<dyn DataStore>,
    quota: Quota,
    serving: Serving,
    folder: tempfile::TempDir,
}

/// A server that runs, until this is dropped.
struct Serving {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl LocalStore {
    /// One with what holds where nobody says otherwise.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::from_environment().bounds().quota).await
    }

    /// One with limits for its tenant.
    pub(crate) async fn with(quota: Quota) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serving = serve(folder.path(), quota).await;
        let options = Options {
            secrets: folder.path().to_owned(),
            ..Options::new("default".parse().unwrap())
        };
        let url = DataUrl::Socket(socket(folder.path()));
        Self {
            store: data::open(&url, &options).await.unwrap(),
            quota,
            serving,
            folder,
        }
    }

    /// It ends, and another one that holds nothing takes its place.
    pub(crate) async fn lose(self) -> Self {
        drop(self.serving.stop);
        self.serving.task.await.unwrap();
        let serving = serve(self.folder.path(), self.quota).await;
        Self { serving, ..self }
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("store.sock")
}

async fn serve(folder: &Path, quota: Quota) -> Serving {
    let limits = Settings::from_environment();
    let mut bounds = limits.bounds();
    bounds.quota = quota;
    let server = Server::bind(Config {
        bounds,
        spill: None,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        // The same before and after it was lost.
        address: Some("store.local:7700".to_owned()),
        socket: Some(socket(folder)),
        secrets: folder.to_owned(),
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
    let task = tokio::spawn(server.run(stop.clone()));
    Serving {
        stop: stop.drop_guard(),
        task,
    }
}
