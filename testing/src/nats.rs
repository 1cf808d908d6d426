//! A nats-server, on a free port, with its files in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::program::until;
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

    /// A server with JetStream on a port that is free.
    pub async fn start_on(port: u16) -> Self {
        let mut server = Self::with(tempfile::tempdir().unwrap(), Some(port));
        server.configure("");
        server.start_again().await;
        server
    }

    async fn start_with(folder: tempfile::TempDir, configuration: &str) -> Self {
        let mut server = Self::with(folder, None);
        fs::write(server.configuration(), configuration).unwrap();
        server.start_again().await;
        server
    }

    const fn with(folder: tempfile::TempDir, port: Option<u16>) -> Self {
        Self {
            folder,
            port,
            running: None,
        }
    }

    /// Writes another configuration, with JetStream, for its next start.
    pub fn configure(&self, more: &str) {
        let configuration = format!("jetstream {{ store_dir: {:?} }}\n{more}", self.store());
        fs::write(self.configuration(), configuration).unwrap();
    }

    /// Has it read another configuration while it runs, with JetStream.
    pub async fn reload(&self, more: &str) {
        self.configure(more);
        let reloads = || {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            log.matches("Reloaded server configuration").count()
        };
        let before = reloads();
        let id = self.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", "HUP", &id]).status();
        assert!(sent.unwrap().success());
        until("the server has read its configuration", async || {
            (reloads() > before).then_some(())
        })
        .await;
    }

    /// Asks it for something, as a user such as `user:password`, or as nobody; its answer.
    pub async fn ask(&self, user: &str, subject: &str, payload: &[u8]) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let url = self.url().replace("//", &format!("//{user}{at}"));
        let settings = async_nats::ConnectOptions::new();
        let settings = match user.split_once(':') {
            Some((user, password)) => settings.user_and_password(user.into(), password.into()),
            None => settings,
        };
        let client = settings.connect(url).await.unwrap();
        let payload = payload.to_vec().into();
        let answer = client.request(subject.to_owned(), payload).await.unwrap();
        String::from_utf8(answer.payload.to_vec()).unwrap()
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
            .arg(self.configuration())
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

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("nats.conf")
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
