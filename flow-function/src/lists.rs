//! Lists of requests: from the keeper, which is in this process where the state is this process's, and
//! another process where others share it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use turlough_keeper::{Filter, IndexPlace, Keeper, KeeperError, Options, Retention, summary_json};
use turlough_sdk::RequestId;
use turlough_statestore::StateUrl;

use crate::runner::with_query;
use crate::shared::Shared;

/// How long another process may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(
        "several processes share the state, and its keeper lists requests; set TURLOUGH_KEEPER_URL"
    )]
    NoKeeper,
    #[error("keeper at {url} does not list requests: {reason}")]
    Away { url: String, reason: String },
    #[error("{detail}")]
    Refused { detail: String },
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) requests: Vec<Json>,
    /// Where the next one begins.
    pub(crate) next: Option<String>,
}

impl Shared {
    /// The keeper of this process, where it has one.
    pub(crate) async fn keeper(&self) -> Result<Option<&Keeper>, KeeperError> {
        if self.state.is_shared {
            return Ok(None);
        }
        let keeper = self.keeper.get_or_try_init(|| async {
            let settings = &self.settings;
            let mut options = Options::new(self.replica, settings.tenant.clone());
            options.registry = Some(Arc::clone(&self.metrics.registry));
            options.index = match &settings.state.url {
                StateUrl::File(dir) => {
                    IndexPlace::File(dir.join(format!("{}.index", settings.function)))
                }
                _ => IndexPlace::Memory,
            };
            let (ended_max, bytes_max) = (settings.ended_max, settings.ended_bytes_max);
            options.retention = Some(Retention::new(ended_max, bytes_max));
            options.keep_failed_max = settings.keep_failed_max;
            options.heartbeat = settings.state.heartbeat;
            options.max_age = settings.state.max_age;
            Keeper::start(self.state.clone(), options).await
        });
        keeper.await.map(Some)
    }

    /// Requests, newest first.
    pub(crate) async fn list(&self, filter: &Filter) -> Result<Page, ListError> {
        let Some(keeper) = self.keeper().await? else {
            return self.list_elsewhere(filter).await;
        };
        let found = keeper.list(filter).await?;
        let is_full = found.len() == filter.limit;
        let last = found.last().filter(|_| is_full);
        Ok(Page {
            next: last.map(|(id, _)| id.to_string()),
            requests: found
                .iter()
                .map(|(id, summary)| summary_json(*id, summary))
                .collect(),
        })
    }

    /// The sub-flows of a request, newest first; those that can be told of now.
    pub(crate) async fn children(&self, parent: RequestId, limit: usize) -> Vec<Json> {
        let filter = Filter {
            parent: Some(parent),
            limit,
            ..Filter::default()
        };
        let listed = self.list(&filter).await;
        listed.map(|page| page.requests).unwrap_or_default()
    }

    async fn list_elsewhere(&self, filter: &Filter) -> Result<Page, ListError> {
        let base = self.settings.keeper_url.as_deref();
        let base = base.ok_or(ListError::NoKeeper)?.trim_end_matches('/');
        let away = |reason: String| ListError::Away {
            url: base.to_owned(),
            reason,
        };
        let filters = [
            ("function", Some(self.settings.function.to_string())),
            ("limit", Some(filter.limit.to_string())),
            ("flow", filter.flow.clone()),
            (
                "status",
                filter.status.map(|status| status.name().to_owned()),
            ),
            ("parent", filter.parent.map(|parent| parent.to_string())),
            ("call_id", filter.call_id.clone()),
            ("before", filter.before.map(|before| before.to_string())),
        ];
        let filters = filters.into_iter();
        let query: Vec<_> = filters
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        let url = with_query(format!("{base}/requests"), &query);
        let call = self.client.get(url);
        let answer = call.timeout(ANSWER_WAIT_MAX).send().await;
        let answer = answer.map_err(|error| away(crate::outside::without_url(&error)))?;
        let status = answer.status();
        let body: Json = answer
            .json()
            .await
            .map_err(|error| away(crate::outside::without_url(&error)))?;
        if !status.is_success() {
            let detail = body["detail"].as_str().unwrap_or_default();
            return Err(match status.is_client_error() {
                true => ListError::Refused {
                    detail: detail.to_owned(),
                },
                false => away(format!("it answered {status}: {detail}")),
            });
        }
        Ok(Page {
            requests: body["requests"].as_array().cloned().unwrap_or_default(),
            next: body["next"].as_str().map(str::to_owned),
        })
    }

    /// Versions of a flow that requests still run on, of those that are known.
    pub(crate) async fn used_versions(
        self: &Arc<Self>,
        flow: &turlough_sdk::FlowName,
    ) -> std::collections::HashSet<String> {
        let mut used = std::collections::HashSet::new();
        for version in self.registry.known_versions(flow) {
            let is_used = match self.keeper().await {
                Ok(Some(keeper)) => keeper.uses(flow, &version).await.unwrap_or(true),
                // Others may run requests on it that nobody here knows of.
                Ok(None) | Err(_) => true,
            };
            if is_used {
                used.insert(version);
            }
        }
        used
    }
}
