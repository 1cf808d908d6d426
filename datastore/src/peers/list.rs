//! Who the other stores are: a list, or what a name resolves to.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;

use super::Peers;
use crate::reference::is_address;

/// How often a name is resolved.
const RESOLVE: Duration = Duration::from_secs(10);
/// The most stores that are told apart.
const PEERS_MAX: usize = 1_024;

/// Who the other stores are: `host:port,host:port`, or `dns:name:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerList {
    /// These.
    Named(Vec<String>),
    /// All that a name resolves to, as host:port.
    Dns(String),
}

/// Why a text names no stores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not host:port; write host:port,host:port, or dns:name:port for a headless service"
)]
pub struct PeerListError {
    found: String,
}

impl FromStr for PeerList {
    type Err = PeerListError;

    fn from_str(text: &str) -> Result<Self, PeerListError> {
        let check = |place: &str| match is_address(place) {
            true => Ok(place.to_owned()),
            false => Err(PeerListError {
                found: place.chars().take(200).collect(),
            }),
        };
        if let Some(name) = text.strip_prefix("dns:") {
            return check(name).map(Self::Dns);
        }
        let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        names.map(check).collect::<Result<_, _>>().map(Self::Named)
    }
}

/// Keeps the list of peers as it is said, or as its name resolves, for as long as the store runs.
pub(crate) async fn follow(list: PeerList, peers: Arc<Peers>) {
    let name = match list {
        PeerList::Named(names) => {
            let others = names.into_iter().filter(|name| *name != peers.address);
            let mut others: Vec<Arc<str>> = others.map(Arc::from).collect();
            // At once; one that turns out to be this store goes when its name was looked up.
            peers.set(others.clone());
            for name in others.clone() {
                if is_named_self(&name, &peers.address).await {
                    others.retain(|other| *other != name);
                }
            }
            return peers.set(others);
        }
        PeerList::Dns(name) => name,
    };
    let mut seen = BTreeSet::new();
    loop {
        match lookup_host(&name).await {
            Ok(found) => {
                let others = found.filter(|place| !is_self(*place, &peers.address));
                let now: BTreeSet<_> = others.take(PEERS_MAX).collect();
                if now != seen {
                    tracing::info!(%name, stores = now.len(), "other stores");
                    peers.set(now.iter().map(|place| place.to_string().into()).collect());
                    seen = now;
                }
            }
            // Those that were known stay.
            Err(error) => tracing::warn!(%name, %error, "other stores cannot be found"),
        }
        tokio::time::sleep(RESOLVE).await;
    }
}

/// Whether a name resolves to this store. One that resolves to nothing yet is another's.
async fn is_named_self(name: &str, address: &str) -> bool {
    let found = lookup_host(name).await;
    found.is_ok_and(|mut found| found.any(|place| is_self(place, address)))
}

/// Whether an address is this store's own: at its port, on this host.
fn is_self(place: SocketAddr, address: &str) -> bool {
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port == Some(place.port()) && UdpSocket::bind((place.ip(), 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_places_or_a_name() {
        let named = |all: &[&str]| Ok(PeerList::Named(all.iter().map(|it| (*it).into()).collect()));
        assert_eq!("a:1, b:2,".parse(), named(&["a:1", "b:2"]));
        assert_eq!(
            "dns:stores:7700".parse(),
            Ok(PeerList::Dns("stores:7700".into()))
        );
        for text in ["a", "a:1,b", "dns:stores", "redis://a:1"] {
            assert!(text.parse::<PeerList>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_lies_on_this_host_at_this_port_is_this_store() {
        let own = "127.0.0.1:7700";
        assert!(is_self(own.parse().unwrap(), "10.9.9.9:7700"));
        assert!(!is_self("127.0.0.1:7701".parse().unwrap(), own));
        assert!(!is_self("203.0.113.7:7700".parse().unwrap(), own));
    }
}
