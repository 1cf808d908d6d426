//! Wakes functions that have no replica: any call through the gateway has it start one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};
use turlough_sdk::FunctionName;

/// A function is called no more often than this while it does not come up.
const APART: Duration = Duration::from_secs(5);
/// A function may take this long to start; the gateway holds the call for it.
const START_MAX: Duration = Duration::from_secs(60);
/// Functions that are remembered as called: those of one tenant.
const FUNCTIONS_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Gateway {
    url: String,
    client: reqwest::Client,
    called: Mutex<HashMap<FunctionName, Instant>>,
}

impl Gateway {
    pub(crate) fn new(url: &str) -> Result<Self, reqwest::Error> {
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            client: reqwest::Client::builder().timeout(START_MAX).build()?,
            called: Mutex::default(),
        })
    }

    /// Whether it is time to call a function; it counts as called from now on.
    pub(crate) fn is_time(&self, function: &FunctionName) -> bool {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        if called.get(function).is_some_and(|at| at.elapsed() < APART) {
            return false;
        }
        if called.len() >= FUNCTIONS_MAX {
            called.retain(|_, at| at.elapsed() < APART);
        }
        called.insert(function.clone(), Instant::now());
        true
    }

    /// Calls a function, so that it is started.
    pub(crate) async fn wake(&self, function: &FunctionName) {
        info!(%function, "function has work and no replica, and is called");
        let url = format!("{}/function/{function}/_/health", self.url);
        match self.client.get(url).send().await {
            Ok(response) => debug!(%function, status = %response.status(), "function was called"),
            Err(error) => info!(%function, %error, "function did not answer"),
        }
    }
}
