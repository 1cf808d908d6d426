//! The backend in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::data::{DataStore, PutError};
use turlough_sdk::{RequestId, ValueRef};

use crate::server::{
    GoesAway, IsOpen, LONG, Server, bytes, key, opened, options, request, stored, until,
};
use crate::value::names;

/// There is no server: a folder that is away is one that is not mounted.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
    lease: Duration,
}

impl Folder {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

#[async_trait(?Send)]
impl Server for Folder {
    async fn start(lease: Duration) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            lease,
        }
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        let url = format!("file:{}", self.data().display());
        opened(&url, &options(tenant, self.lease)).await
    }
}

#[async_trait(?Send)]
impl GoesAway for Folder {
    async fn go(&mut self) {
        fs::rename(self.data(), self.dir.path().join("away")).unwrap();
        fs::create_dir(self.data()).unwrap();
    }

    async fn come_back(&mut self) {
        fs::remove_dir_all(self.data()).unwrap();
        fs::rename(self.dir.path().join("away"), self.data()).unwrap();
    }
}

#[async_trait(?Send)]
impl IsOpen for Folder {
    async fn change(&self, request: RequestId, _: &ValueRef) {
        let values = self.data().join(format!("acme/values/{request}"));
        for file in files(&values) {
            let mut bytes = fs::read(&file).unwrap();
            bytes[0] ^= 1;
            fs::write(&file, bytes).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}

#[tokio::test]
async fn no_name_leads_out_of_its_bucket() {
    let server = Folder::start(LONG).await;
    let store = server.open().await;
    let one = request();
    for name in names() {
        let put = store.put(one, 1, &key(one, &name), bytes(1, 10)).await;
        put.unwrap();
    }
    let bucket = server.data().join(format!("acme/values/{one}"));
    let mut all = files(server.dir.path());
    assert_eq!(files(&bucket).len(), names().len());
    all.retain(|file| !file.starts_with(&bucket));
    all.sort();
    let known = server.data().join(format!("acme/buckets/{one}"));
    assert_eq!(all, [known, server.data().join("acme/lock")]);
}

#[tokio::test]
async fn nothing_is_left_of_a_bucket_whose_lease_is_over_nor_of_what_came_late() {
    let server = Folder::start(Duration::from_secs(1)).await;
    let store = server.open().await;
    let (one, other) = (request(), request());
    let at = store
        .put(one, 1, &key(one, "a"), bytes(1, 10))
        .await
        .unwrap();
    store.drop_bucket(one, 1).await.unwrap();
    // As by a put that looked before the drop, and wrote after it; and by a process that was killed
    // while it wrote, of a bucket that nobody knows any more.
    let life = format!("acme/values/{one}/{:016x}", stored(&at).boot);
    for life in [life, format!("acme/values/{other}/{:016x}", 7)] {
        fs::create_dir_all(server.data().join(&life)).unwrap();
        fs::write(server.data().join(&life).join("b"), "late").unwrap();
        fs::write(server.data().join(&life).join("c#1"), "half").unwrap();
    }
    until("nothing is left", async || {
        let left = files(&server.data());
        (left == [server.data().join("acme/lock")]).then_some(())
    })
    .await;
    let left = fs::read_dir(server.data().join("acme/values")).unwrap();
    assert_eq!(left.count(), 0, "no folders either");
}

#[tokio::test]
async fn what_comes_late_is_not_in_the_way_of_a_bucket_that_was_opened_anew() {
    let server = Folder::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let key = key(one, "a");
    let first = store.put(one, 1, &key, bytes(1, 10)).await.unwrap();
    store.drop_bucket(one, 1).await.unwrap();
    // As by a put that looked before the drop, and wrote after it.
    let life = format!("acme/values/{one}/{:016x}", stored(&first).boot);
    fs::create_dir_all(server.data().join(&life)).unwrap();
    fs::write(server.data().join(life).join("a"), "late").unwrap();
    let second = store.put(one, 2, &key, bytes(2, 10)).await.unwrap();
    assert!(store.get(one, stored(&second)).await.unwrap() == bytes(2, 10));
    assert_eq!(store.drop_bucket(one, 2).await.unwrap().keys, 1);
}

#[tokio::test]
async fn of_many_who_open_a_bucket_all_put_into_the_same() {
    let server = Folder::start(LONG).await;
    let stores = [server.open().await, server.open().await];
    for _ in 0..20 {
        let one = request();
        let writers = (0..8_usize).map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            let key = key(one, &n.to_string());
            tokio::spawn(async move { store.put(one, 1, &key, bytes(1, 10)).await.unwrap() })
        });
        let mut lives = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            lives.push(stored(&writer.await.unwrap()).boot);
        }
        lives.dedup();
        assert_eq!(lives.len(), 1);
    }
}

/// The limit of the size of files stands for a disk without room: the system refuses the same call in the
/// same way, after having written a part. Its signal is ignored from the start, by the shell.
#[test]
fn what_a_full_disk_refuses_leaves_nothing() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""]);
    shell.arg(std::env::current_exe().unwrap());
    shell.args(["--exact", "folder::fills_its_files", "--ignored"]);
    let ended = shell.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    let is_well = ended.status.success() && text.contains("1 passed");
    assert!(is_well, "{text}");
}

#[tokio::test]
#[ignore = "runs in a process of its own, see above"]
async fn fills_its_files() {
    let server = Folder::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let large = bytes(1, 1_000_000);
    let error = store.put(one, 1, &key(one, "a"), large).await.unwrap_err();
    assert!(matches!(error, PutError::Full { .. }), "{error}");
    let at = store.put(one, 1, &key(one, "a"), bytes(1, 100_000)).await;
    let at = at.unwrap();
    assert!(store.get(one, stored(&at)).await.unwrap() == bytes(1, 100_000));
    assert_eq!(files(&server.data().join("acme/values")).len(), 1);
}
