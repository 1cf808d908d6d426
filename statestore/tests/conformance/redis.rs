//! The backend in Redis: a server of its own for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use turlough_statestore::{Options, Seq, State, StateUrl};

use crate::server::Server;

/// A server that forces every write to the disk, on a socket in a folder of its own.
pub(crate) struct Redis {
    dir: TempDir,
    options: Options,
    process: Child,
}

impl Redis {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn restart(&mut self) {
        self.process = start(self.dir.path()).await;
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait]
impl Server for Redis {
    async fn start_with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let process = start(dir.path()).await;
        Self {
            dir,
            options,
            process,
        }
    }

    async fn open(&self) -> State {
        let url = format!("redis+unix://{}", socket(self.dir.path()).display());
        let url: StateUrl = url.parse().unwrap();
        State::open(&url, &self.options).await.unwrap()
    }

    async fn crash(&mut self) -> bool {
        self.kill();
        self.restart().await;
        true
    }

    async fn mark(&mut self) {
        copy_all(&self.data(), &self.dir.path().join("mark"));
    }

    async fn lose(&mut self) {
        self.kill();
        fs::remove_dir_all(self.data()).unwrap();
        fs::rename(self.dir.path().join("mark"), self.data()).unwrap();
        self.restart().await;
    }

    async fn expire(&mut self, to: Seq) {
        let state = self.open().await;
        let gone = async {
            while state.log.at(to).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(60), gone).await;
        gone.expect("what is too old is gone within a minute");
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("redis.sock")
}

/// Starts a server on what lies in the folder, and waits until it answers.
async fn start(dir: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always", "--unixsocket"]);
    command.arg(socket(dir)).arg("--dir").arg(dir.join("data"));
    let log = fs::File::create(dir.join("log")).unwrap();
    let process = command.stdin(Stdio::null()).stdout(log).spawn();
    let mut process = process.unwrap_or_else(|error| {
        panic!("redis-server does not start ({error}); run statestore/tests/install-redis.sh")
    });
    let client = redis::Client::open(format!("redis+unix://{}", socket(dir).display())).unwrap();
    let answers = async {
        loop {
            if let Ok(mut wire) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING").exec_async(&mut wire).await.is_ok()
            {
                return;
            }
            if let Some(status) = process.try_wait().unwrap() {
                let log = fs::read_to_string(dir.join("log")).unwrap();
                panic!("redis-server ended, {status}: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answers = tokio::time::timeout(Duration::from_secs(60), answers).await;
    answers.expect("redis-server answers within a minute");
    process
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
