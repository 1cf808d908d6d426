//! A bucket of S3, where `TURLOUGH_TEST_S3` names one, as `s3://bucket/prefix`; the rest is in the
//! variables that every client of S3 reads. Each test has a prefix of its own.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::data::DataStore;
use turlough_sdk::{RequestId, ValueRef};

use crate::server::{IsOpen, Server, opened, options, request, stored};

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

/// What curl says of an object, or does to it.
fn curl(arguments: &[&str], path: &str) -> Vec<u8> {
    let setting = |name: &str| std::env::var(name).unwrap();
    let endpoint = setting("AWS_ENDPOINT_URL");
    let signed = format!("aws:amz:{}:s3", setting("AWS_REGION"));
    let (id, secret) = (
        setting("AWS_ACCESS_KEY_ID"),
        setting("AWS_SECRET_ACCESS_KEY"),
    );
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--aws-sigv4", &signed]);
    curl.args(["--user", &format!("{id}:{secret}")]);
    curl.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
    curl.args(arguments).arg(format!("{endpoint}/{path}"));
    let output = curl.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path}: {said}");
    output.stdout
}

#[async_trait(?Send)]
impl IsOpen for Bucket {
    async fn change(&self, request: RequestId, at: &ValueRef) {
        let at = stored(at);
        let root = self.url.strip_prefix("s3://").unwrap();
        let name = at.key.split_once('}').unwrap().1;
        let path = format!("{root}/acme/values/{request}/{:016x}/{name}", at.boot);
        let mut value = curl(&[], &path);
        value[0] ^= 1;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), value).unwrap();
        curl(&["--upload-file", file.path().to_str().unwrap()], &path);
    }
}
