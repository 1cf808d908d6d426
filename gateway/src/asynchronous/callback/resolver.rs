//! Where callbacks go: each address that a name stands for is looked at in the same step in which it is
//! handed to whoever connects, so that no later answer of the name's server counts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

use super::url::is_link_local;

/// Asks another, and gives none of its addresses where one of them must not be called.
#[derive(Clone, Debug)]
pub(super) struct Resolver<R = GaiResolver> {
    names: R,
    /// Every address may be called.
    allows_link_local: bool,
}

/// A name that stands for an address that must not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "host `{name}` stands for {address}, a link-local address, which tells of this machine to whoever asks it; call back another, or set TURLOUGH_CALLBACK_LINK_LOCAL"
)]
pub(super) struct LinkLocal {
    name: String,
    address: IpAddr,
}

impl LinkLocal {
    /// Whether an error comes of it.
    pub(super) fn is_cause(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if Self::is_it(error) {
                return true;
            }
            next = error.source();
        }
        false
    }

    fn is_it(error: &(dyn std::error::Error + 'static)) -> bool {
        // What an io::Error carries is no source of it.
        let carried = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        error.is::<Self>() || carried.is_some_and(|error| error.is::<Self>())
    }
}

impl Resolver {
    pub(super) fn new(allows_link_local: bool) -> Self {
        Self::of(GaiResolver::new(), allows_link_local)
    }
}

impl<R> Resolver<R> {
    pub(super) fn of(names: R, allows_link_local: bool) -> Self {
        Self {
            names,
            allows_link_local,
        }
    }
}

impl<R, A> Service<Name> for Resolver<R>
where
    R: Service<Name, Response = A, Error = io::Error>,
    R::Future: Send + 'static,
    A: Iterator<Item = SocketAddr>,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.names.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let asked = name.as_str().to_owned();
        let allows = self.allows_link_local;
        let found = self.names.call(name);
        Box::pin(async move {
            let addresses: Vec<_> = found.await?.collect();
            let mut bare = addresses.iter().map(SocketAddr::ip);
            match bare.find(|address| !allows && is_link_local(*address)) {
                None => Ok(addresses.into_iter()),
                Some(address) => Err(io::Error::other(LinkLocal {
                    name: asked,
                    address,
                })),
            }
        })
    }
}
