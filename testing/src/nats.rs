//! A nats-server, on a free port, with its files in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::supervised::Supervised;

/// A nats-server of a test.
#[derive(Debug)]
pub struct Nats {
    folder: tempfile::TempDir,
    port: Option<u16>,
    running: Option<Supervised>,
}

impl Nats {
    /// A server with JetStream; `more` is added to its configuration.
    pub async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let jetstream = format!("jetstream {{ store_dir: {store:?} }}\n{more}");
        Self::start_with(folder, &jetstream).await
    }

    /// A server with this configuration alone.
    pub async fn start_bare(configuration: &str) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), configuration).await
    }

    async fn start_with(folder: tempfile::TempDir, configuration: &str) -> Self {
        fs::write(folder.path().join("nats.conf"), configuration).unwrap();
        let mut server = Self {
            folder,
            port: None,
            running: None,
        };
        server.start_again().await;
        server
    }

    /// Where JetStream keeps its files.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Where it listens: `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.unwrap())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Supervised::id)
    }

    /// Starts it on what is in its folder, on the port that it had.
    pub async fn start_again(&mut self) {
        let ports = self.folder.path().join("ports");
        drop(fs::remove_dir_all(&ports));
        fs::create_dir(&ports).unwrap();
        let port = self.port.map_or(-1, i32::from);
        let mut command = Command::new(binary());
        command
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(["-l".as_ref(), self.log().as_os_str()])
            .arg("--ports_file_dir")
            .arg(&ports);
        self.running = Some(Supervised::start(&command));
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                if let Some(port) = port_in(&ports) {
                    return port;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let log = || fs::read_to_string(self.log()).unwrap_or_default();
        self.port = Some(found.await.unwrap_or_else(|_| panic!("{}", log())));
    }

    /// Kills it, as a machine does that is short of memory.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// The port that a server wrote when it began to listen.
fn port_in(folder: &Path) -> Option<u16> {
    let file = fs::read_dir(folder).unwrap().next()?.unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    let (_, rest) = text.split_once("nats://127.0.0.1:")?;
    rest[..rest.find('"')?].parse().ok()
}

/// The server to run: `TURLOUGH_NATS_SERVER`, that of `make tools`, or that of the machine.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TURLOUGH_NATS_SERVER") {
        return path.into();
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/nats-server");
    if tools.exists() {
        return tools;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    found.find(|path| path.exists()).unwrap_or_else(|| {
        panic!("there is no nats-server: run `make tools`, or set TURLOUGH_NATS_SERVER to its path")
    })
}
