//! State in NATS JetStream: streams that a cluster of servers replicates by itself.
//!
//! Spoken is JetStream's own JSON interface over the client's requests, since it is small, since the
//! client has no batched direct get, and since its streams recover by themselves where we must hear
//! of it. Invariants: an append is sent once, and is known not to be stored only where a server says
//! so; what is there is never changed to fit, but refused by the name of the field; readers never
//! outlive the connection that they began on.

mod api;
mod bus;
mod connection;
mod follow;
mod get;
mod inbox;
mod log;
mod names;
mod queue;
mod server;
mod settings;
mod table;

use std::sync::Arc;

use crate::error::StateError;
use crate::state::{Options, State};
use bus::NatsBus;
use connection::Connection;
use log::NatsLog;
use names::Names;
use queue::NatsQueue;
use table::NatsTable;

impl State {
    /// State in the servers of a URL: `nats://` or `tls://`, several separated by commas.
    pub(crate) async fn in_nats(url: &str, options: &Options) -> Result<Self, StateError> {
        let connection = Connection::open(url, options).await?;
        server::check(&connection).await?;
        let names = Names::of(&options.tenant);
        settings::ensure_streams(&connection, &names, options).await?;
        let link = connection.link();
        Ok(Self {
            log: Arc::new(NatsLog::new(&connection, &names, options)),
            queue: Arc::new(NatsQueue::new(&connection, &names, options)),
            bus: Arc::new(NatsBus::new(&connection, &names)),
            flows: Arc::new(NatsTable::new(
                &connection,
                &names.flows(),
                options.replicas,
            )),
            replicas: Arc::new(NatsTable::new(
                &connection,
                &names.replicas(),
                options.replicas,
            )),
            is_shared: true,
            link,
        })
    }
}
