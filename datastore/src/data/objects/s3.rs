//! S3, and what speaks like it. Where and by whom is in the variables that its other clients read.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, Error, ObjectStore, RetryConfig};

use super::connector::Connector;

/// What fails on the way is tried again so often, within the time for an answer.
const RETRIES: usize = 3;
const RETRY_WITHIN: Duration = Duration::from_secs(10);
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A bucket, as `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, … say.
pub(super) fn open(bucket: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    let objects = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_http_connector(Connector)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: PAUSES.0,
                max_backoff: PAUSES.1,
                base: 2.0,
            },
            max_retries: RETRIES,
            retry_timeout: RETRY_WITHIN,
        })
        .build()?;
    Ok(Arc::new(objects))
}
