//! A redis-server that forces every write to the disk, on a socket in a folder of its own.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::supervised::Supervised;

/// A redis-server of a test: `appendonly yes`, `appendfsync always`.
#[derive(Debug)]
pub struct Redis {
    folder: tempfile::TempDir,
    running: Option<Supervised>,
}

impl Redis {
    /// A server with nothing in it.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let mut server = Self {
            folder,
            running: None,
        };
        server.start_again().await;
        server
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where it listens: `redis+unix://PATH`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Supervised::id)
    }

    /// Starts it on what is in its folder, and waits until it answers.
    pub async fn start_again(&mut self) {
        let log = self.folder.path().join("log");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--unixsocket"]);
        command.arg(self.socket()).arg("--dir").arg(self.data());
        command.arg("--logfile").arg(&log);
        // What a server that was killed left there answers nobody.
        drop(fs::remove_file(self.socket()));
        self.running = Some(Supervised::start(&command));
        let answers = tokio::time::timeout(Duration::from_secs(60), async {
            while !answers(&self.socket()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if answers.await.is_err() {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!(
                "redis-server does not answer; run testing/install-debian.sh where there is none: {log}"
            );
        }
    }

    /// Has it do something, as in `["CONFIG", "SET", "maxmemory", "1"]`, after a password where it asks
    /// for one; its answer.
    pub fn command(&self, password: Option<&str>, words: &[&str]) -> String {
        let mut wire = UnixStream::connect(self.socket()).unwrap();
        let mut asked = String::new();
        if let Some(password) = password {
            asked = format!("AUTH {password}\r\n");
        }
        asked = format!("{asked}{}\r\nQUIT\r\n", words.join(" "));
        wire.write_all(asked.as_bytes()).unwrap();
        let mut answer = String::new();
        wire.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Kills it, as a machine does that is short of memory.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }
}

/// Whether a server has read its files and answers.
fn answers(socket: &Path) -> bool {
    let Ok(mut wire) = UnixStream::connect(socket) else {
        return false;
    };
    let mut answer = [0; 7];
    let patient = wire.set_read_timeout(Some(Duration::from_secs(5)));
    patient.is_ok()
        && wire.write_all(b"PING\r\n").is_ok()
        && wire.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG\r\n"
}
