//! A store that listens nowhere, for whoever has a stream to serve: fuzzers and tests.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use super::clock::now_ms;
use super::connection::Connection;
use super::guesses::{Guesses, Origin};
#[cfg(fuzzing)]
use super::secrets::DEFAULT;
use super::secrets::Secrets;
use super::session::{Counts, Place, Shared};
use crate::peers::{Backup, Peers};
use crate::store::{Bounds, Store};

#[derive(Debug)]
pub(crate) struct Alone(Arc<Shared>);

impl Alone {
    /// An empty one, where nobody needs a password.
    pub(crate) fn new(bounds: Bounds) -> Self {
        let secrets = Secrets::new("/nowhere".into());
        let address = "127.0.0.1:7700".to_owned();
        let runtime = Handle::current();
        let peers = Peers::new(address.clone(), 1, runtime, secrets.clone(), None);
        Self(Arc::new(Shared {
            store: Store::new(bounds),
            secrets,
            guesses: Guesses::default(),
            peers: Arc::new(peers),
            backup: Backup::None,
            address,
            boot: 1,
            started_ms: now_ms(),
            value_bytes_max: 1 << 20,
            buffers_bytes_max: 1 << 20,
            stalled: Duration::from_secs(60),
            counts: Counts::default(),
        }))
    }

    /// Serves one client until it goes.
    pub(crate) fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> impl Future<Output = ()> + use<S> {
        let shared = Arc::clone(&self.0);
        async move {
            let place = Place::take(&shared);
            let origin = Origin::User(None);
            Connection::new(stream, place, origin).serve().await;
        }
    }

    /// Nothing is in flight, and nothing is counted that is not there.
    #[cfg(fuzzing)]
    pub(crate) fn assert_settled(&self) {
        let shared = &self.0;
        assert_eq!(shared.connections(), 0);
        let tenant = shared.store.tenant(DEFAULT, now_ms());
        assert_eq!(tenant.usage(now_ms()).bytes_in_flight, 0);
        tenant.flush(now_ms());
        let usage = tenant.usage(now_ms());
        assert_eq!((usage.bytes, usage.keys, usage.buckets), (0, 0, 0));
        assert_eq!(shared.store.held().0, 0);
        assert_eq!(shared.store.pool().used_bytes(), 0);
    }
}
