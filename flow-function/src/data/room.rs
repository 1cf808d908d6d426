//! What the tenant holds in its store, as it was a moment ago: asked once for all that begin meanwhile.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;
use turlough_datastore::DataStore;
use turlough_datastore::data::Usage;

/// For how long an answer is taken for true.
const FRESH: Duration = Duration::from_millis(100);
/// How long an answer may take. A store that gives none is left alone for a while; nothing is known then.
const PATIENCE: Duration = Duration::from_millis(250);
const AWAY: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Option<Asked>>);

#[derive(Debug, Clone, Copy)]
struct Asked {
    usage: Option<Usage>,
    until: Instant,
}

impl Room {
    pub(super) async fn usage(&self, store: &dyn DataStore) -> Option<Usage> {
        let mut known = self.0.lock().await;
        if let Some(asked) = known.filter(|asked| Instant::now() < asked.until) {
            return asked.usage;
        }
        let (usage, fresh) = match tokio::time::timeout(PATIENCE, store.usage()).await {
            Ok(Ok(usage)) => (usage, FRESH),
            Ok(Err(error)) => {
                debug!(%error, "what a store holds is not known");
                (None, AWAY)
            }
            Err(_) => (None, AWAY),
        };
        *known = Some(Asked {
            usage,
            until: Instant::now() + fresh,
        });
        usage
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use turlough_datastore::data::{Options, in_memory};
    use turlough_sdk::{RequestId, TenantId};
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_once_an_answer_is_old() {
        let tenant: TenantId = "acme".parse().unwrap();
        let store: Arc<dyn DataStore> = in_memory(&Options::new(tenant));
        let room = Room::default();
        let held = async || room.usage(&*store).await.unwrap().bytes;
        assert_eq!(held().await, 0);
        let request = RequestId::from_uuid(Uuid::from_u128(1));
        let key = format!("{{{request}}}a");
        let put = store.put(request, 1, &key, Bytes::from_static(b"12345"));
        put.await.unwrap();
        assert_eq!(held().await, 0);
        tokio::time::advance(FRESH).await;
        assert!(held().await >= 5);
    }
}
