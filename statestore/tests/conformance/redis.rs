//! The backend in Redis: a server of its own for each test.

use std::fs;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use turlough_statestore::{Channel, Options, Seq, State, StateError, StateUrl};

use crate::server::{Server, append, request};

/// A server that forces every write to the disk.
pub(crate) struct Redis {
    server: turlough_testing::Redis,
    options: Options,
    marked: Option<TempDir>,
}

#[async_trait]
impl Server for Redis {
    async fn start_with(options: Options) -> Self {
        Self {
            server: turlough_testing::Redis::start().await,
            options,
            marked: None,
        }
    }

    async fn open(&self) -> State {
        let url: StateUrl = self.server.url().parse().unwrap();
        State::open(&url, &self.options).await.unwrap()
    }

    async fn crash(&mut self) -> bool {
        self.server.kill();
        self.server.start_again().await;
        true
    }

    async fn mark(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        copy_all(&self.server.data(), copy.path());
        self.marked = Some(copy);
    }

    async fn lose(&mut self) {
        let copy = self.marked.take().expect("a mark");
        self.server.kill();
        fs::remove_dir_all(self.server.data()).unwrap();
        copy_all(copy.path(), &self.server.data());
        self.server.start_again().await;
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

impl Redis {
    async fn set(&self, name: &str, value: &str) {
        let client = redis::Client::open(self.server.url()).unwrap();
        let mut wire = client.get_multiplexed_async_connection().await.unwrap();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        set.exec_async(&mut wire).await.unwrap();
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_by_name() {
    let server = Redis::start().await;
    server.set("maxmemory-policy", "allkeys-lru").await;
    let url: StateUrl = server.server.url().parse().unwrap();
    let error = State::open(&url, &server.options).await.unwrap_err();
    let text = error.to_string();
    assert!(
        !error.passes() && text.contains("maxmemory-policy is allkeys-lru"),
        "{text}"
    );
}

#[tokio::test]
async fn a_redis_without_memory_is_full_and_nothing_is_done_by_halves() {
    let server = Redis::start().await;
    let state = server.open().await;
    let one = request();
    let first = state.log.append(one, Seq::START, &append(1)).await.unwrap();
    server.set("maxmemory", "1").await;
    let error = state.log.append(one, first, &append(2)).await.unwrap_err();
    assert!(matches!(error, StateError::Full { .. }), "{error}");
    let error = state.queue.enqueue("flows", "a".into()).await.unwrap_err();
    assert!(matches!(error, StateError::Full { .. }), "{error}");
    // What makes room is done.
    let usage = state.log.usage().await.unwrap();
    server.set("maxmemory", "0").await;
    let second = state.log.append(one, first, &append(3)).await.unwrap();
    assert_eq!(second.get(), first.get() + 1);
    assert_eq!(state.log.usage().await.unwrap().bytes, 2 * usage.bytes);
    assert_eq!(state.queue.depth("flows").await.unwrap(), 0);
}

#[tokio::test]
async fn every_connection_to_redis_is_a_new_era_and_words_come_again() {
    let mut server = Redis::start().await;
    let state = server.open().await;
    let mut link = state.link.clone();
    let on = Channel::Done(request());
    let mut listener = state.bus.listen(on).await.unwrap();
    assert_eq!((link.borrow().era, link.borrow().is_up), (1, true));
    server.crash().await;
    let wait = Duration::from_secs(60);
    let stands = link.wait_for(|link| link.era == 2 && link.is_up);
    drop(tokio::time::timeout(wait, stands).await.unwrap().unwrap());
    state.bus.send(on, "a".into()).await.unwrap();
    let word = tokio::time::timeout(wait, listener.next()).await.unwrap();
    assert_eq!(word.unwrap(), "a");
}
