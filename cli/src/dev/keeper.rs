//! The keeper of `turlough dev`, where flow-functions share a state: one that is of one process is kept
//! by that process.

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turlough_flow_function::Settings;
use turlough_keeper::{IndexPlace, Settings as KeeperSettings};

use crate::exit::Failure;

/// A keeper in this process.
#[derive(Debug)]
pub(super) struct DevKeeper {
    pub(super) url: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), anyhow::Error>>,
}

impl DevKeeper {
    /// Starts one where the flow-functions' state needs one and nobody named another.
    pub(super) async fn start(settings: &Settings) -> Result<Option<Self>, Failure> {
        if settings.state.is_of_one_process() || settings.keeper_url.is_some() {
            return Ok(None);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener
            .context("cannot listen on this machine for the keeper")
            .map_err(Failure::platform)?;
        let address = listener.local_addr().map_err(Failure::platform)?;
        let keeper = KeeperSettings {
            state: settings.state.clone(),
            tenant: settings.tenant.clone(),
            gateway_url: Some(settings.gateway_url.clone()),
            keeper_index: IndexPlace::MEMORY.into(),
            keep_failed_max: settings.keep_failed_max,
            ..KeeperSettings::from_environment()
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(turlough_keeper::run_until(keeper, listener, stop.clone()));
        let url = format!("http://{address}");
        Ok(Some(Self { url, stop, task }))
    }

    /// Returns when it ends without being told to.
    pub(super) async fn ended(
        &mut self,
    ) -> Result<Result<(), anyhow::Error>, tokio::task::JoinError> {
        (&mut self.task).await
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Ok(Err(error)) = self.task.await {
            tracing::error!("the keeper did not stop well: {error:#}");
        }
    }
}
