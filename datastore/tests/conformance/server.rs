//! A backend as the suite sees it, and what is put into it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use turlough_datastore::data::{DataStore, DataUrl, Options, Stored, open};
use turlough_sdk::{RequestId, ValueRef};
use uuid::Uuid;

/// A lease that no test waits for.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A backend with nothing in it.
#[async_trait(?Send)]
pub(crate) trait Server: Sized {
    /// Starts it, with the lease that its buckets are born with.
    async fn start(lease: Duration) -> Self;

    /// A tenant's connection, as of another process.
    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore>;

    /// The connection of a tenant.
    async fn open(&self) -> Arc<dyn DataStore> {
        self.open_as("acme").await
    }
}

/// One that can be made to go away.
#[async_trait(?Send)]
pub(crate) trait GoesAway: Server {
    async fn go(&mut self);

    /// At the same place, whatever it has kept.
    async fn come_back(&mut self);
}

/// One that can come back with nothing in it.
#[async_trait(?Send)]
pub(crate) trait ComesBackEmpty: GoesAway {
    async fn come_back_empty(&mut self) {
        self.come_back().await;
    }
}

/// One whose values can be got at behind its back.
#[async_trait(?Send)]
pub(crate) trait IsOpen: Server {
    /// Changes some bytes of a value, and not how many they are.
    async fn change(&self, request: RequestId, at: &ValueRef);
}

/// One that can be full.
#[async_trait(?Send)]
pub(crate) trait HasLimit: Server {
    /// Starts it with room for a value of a million bytes.
    async fn start_small() -> Self;

    /// Sees to it that there is no room for a second one, where that was not done already.
    async fn limit(&self) {}
}

/// A certificate that nobody but this test vouches for, of `localhost`.
pub(crate) struct Certificate(tempfile::TempDir);

impl Certificate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let this = Self(folder);
        fs::write(this.path(), made.cert.pem()).unwrap();
        fs::write(this.key_path(), made.signing_key.serialize_pem()).unwrap();
        this
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    pub(crate) fn key_path(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }
}

pub(crate) async fn opened(url: &str, options: &Options) -> Arc<dyn DataStore> {
    let url: DataUrl = url.parse().unwrap();
    open(&url, options).await.unwrap()
}

pub(crate) fn options(tenant: &str, lease: Duration) -> Options {
    Options {
        lease,
        secrets: "/nowhere".into(),
        ..Options::new(tenant.parse().unwrap())
    }
}

pub(crate) fn request() -> RequestId {
    RequestId::from_uuid(Uuid::now_v7())
}

pub(crate) fn key(request: RequestId, name: &str) -> String {
    format!("{{{request}}}{name}")
}

/// Bytes of every kind, no two alike for different seeds.
pub(crate) fn bytes(seed: u8, len: usize) -> Bytes {
    let bytes = (0..len).map(|n| (n % 251) as u8 ^ seed);
    bytes.collect::<Vec<_>>().into()
}

pub(crate) fn stored(at: &ValueRef) -> Stored<'_> {
    Stored::of(at).expect("it is in a store")
}

/// Asks again until it is so; a long limit, since machines may be slow.
pub(crate) async fn until(what: &str, ask: impl AsyncFnMut() -> Option<()>) {
    turlough_testing::until(what, ask).await;
}
