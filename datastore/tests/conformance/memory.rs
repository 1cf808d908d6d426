//! The backend in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::data::{DataStore, Options};

use crate::server::{HasLimit, LONG, Server, opened, options};

pub(crate) struct Memory(Arc<dyn DataStore>);

#[async_trait(?Send)]
impl Server for Memory {
    async fn start(lease: Duration) -> Self {
        Self(opened("memory:", &options("acme", lease)).await)
    }

    async fn open_as(&self, _: &str) -> Arc<dyn DataStore> {
        Arc::clone(&self.0)
    }
}

#[async_trait(?Send)]
impl HasLimit for Memory {
    async fn start_small() -> Self {
        let options = Options {
            bytes_max: 1_500_000,
            ..options("acme", LONG)
        };
        Self(opened("memory:", &options).await)
    }
}
