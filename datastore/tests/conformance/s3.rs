//! A bucket of S3, where `TURLOUGH_TEST_S3` names one, as `s3://bucket/prefix`; the rest is in the
//! variables that every client of S3 reads. Each test has a prefix of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::data::DataStore;

use crate::server::{Server, opened, options, request};

pub(crate) struct Bucket {
    url: String,
    lease: Duration,
}

#[async_trait(?Send)]
impl Server for Bucket {
    async fn start(lease: Duration) -> Self {
        let url = std::env::var("TURLOUGH_TEST_S3").expect("TURLOUGH_TEST_S3 names a bucket");
        Self {
            url: format!("{url}/{}", request()),
            lease,
        }
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        opened(&self.url, &options(tenant, self.lease)).await
    }
}
