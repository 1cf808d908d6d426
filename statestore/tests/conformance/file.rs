//! The backend in files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use turlough_statestore::{Options, Seq, State, StateUrl};

use crate::server::Server;

/// There is no server. A process that is killed leaves its folder as it is at that moment: so a crash
/// is a copy of the folder while the state is still open, in the place of the folder, and what was
/// open finds its own one gone. What a real SIGKILL leaves is tried in `tests/file/kills.rs`.
pub(crate) struct Files {
    dir: TempDir,
    options: Options,
    state: State,
    marks: u32,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a copy of a folder in the place of the state's, and opens it.
    async fn go_on_from(&mut self, copy: &Path) {
        fs::rename(
            self.path("state"),
            self.path(&format!("gone-{}", self.marks)),
        )
        .unwrap();
        self.marks += 1;
        fs::rename(copy, self.path("state")).unwrap();
        self.state = open(&self.path("state"), &self.options).await;
    }
}

#[async_trait]
impl Server for Files {
    async fn start_with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = open(&dir.path().join("state"), &options).await;
        Self {
            dir,
            options,
            state,
            marks: 0,
        }
    }

    async fn open(&self) -> State {
        self.state.clone()
    }

    async fn crash(&mut self) -> bool {
        let copy = self.path("copy");
        copy_all(&self.path("state"), &copy);
        self.go_on_from(&copy).await;
        true
    }

    async fn mark(&mut self) {
        copy_all(&self.path("state"), &self.path("mark"));
    }

    async fn lose(&mut self) {
        let mark = self.path("mark");
        self.go_on_from(&mark).await;
    }

    async fn expire(&mut self, to: Seq) {
        let gone = async {
            while self.state.log.at(to).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(60), gone).await;
        gone.expect("what is too old is gone within a minute");
    }
}

async fn open(dir: &Path, options: &Options) -> State {
    let url = StateUrl::File(dir.to_owned());
    State::open(&url, options).await.unwrap()
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
