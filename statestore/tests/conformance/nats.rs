//! NATS JetStream: a server of its own for each test.

mod cluster;
mod measure;
mod process;
mod refusals;

use std::fs;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use turlough_statestore::{Options, Seq, State};

use self::process::{Opens as _, Process};
use crate::server::Server;

pub(crate) struct Nats {
    process: Process,
    options: Options,
    marked: Option<tempfile::TempDir>,
}

#[async_trait]
impl Server for Nats {
    async fn start_with(options: Options) -> Self {
        Self {
            process: Process::start("").await,
            options,
            marked: None,
        }
    }

    async fn open(&self) -> State {
        self.process.open(&self.options).await.unwrap()
    }

    async fn crash(&mut self) -> bool {
        self.process.kill();
        self.process.start_again().await;
        true
    }

    async fn mark(&mut self) {
        // What was acknowledged is in the server's files, if not on the disk.
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&self.process.store(), copy.path());
        self.marked = Some(copy);
    }

    async fn lose(&mut self) {
        let copy = self.marked.take().expect("a mark");
        self.process.kill();
        fs::remove_dir_all(self.process.store()).unwrap();
        copy_folder(copy.path(), &self.process.store());
        self.process.start_again().await;
    }

    async fn expire(&mut self, to: Seq) {
        let state = self.open().await;
        let gone = async {
            while state.log.at(to).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, gone)
            .await
            .expect("what is old expires within a minute");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
