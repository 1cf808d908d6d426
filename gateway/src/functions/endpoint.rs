//! Where one replica of a function answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, Request};
use tokio::sync::Notify;

/// Set beside the number of calls in flight where no more are to come.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// An HTTP origin, with what a request to it needs made ready.
#[derive(Debug)]
pub(crate) struct Endpoint {
    authority: Authority,
    host: HeaderValue,
    served: Served,
    /// With [`CLOSED`], in one number, so that no call comes unseen between the two.
    in_flight: AtomicUsize,
    /// Calls that it ever took on.
    taken: AtomicU64,
    ended: Notify,
}

/// One call that is on its way to an endpoint, or back; over when it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    endpoint: Arc<Endpoint>,
    /// Which call of the endpoint it is; `None` where there were others in flight.
    alone: Option<u64>,
}

/// What answers at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// A process that was started here.
    Process(u32),
    /// The gateway itself, before processes of requests or for a folder.
    Watchdog,
    /// Something that others run.
    Elsewhere,
}

impl Endpoint {
    /// Reads `http://host:port`; anything else is `None`.
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let uri: Uri = address.parse().ok()?;
        let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/";
        if !plain || uri.query().is_some() {
            return None;
        }
        Self::new(uri.authority()?.clone(), Served::Elsewhere)
    }

    pub(crate) fn local(address: SocketAddr, served: Served) -> Option<Self> {
        Self::new(Authority::try_from(address.to_string()).ok()?, served)
    }

    /// Points a request, whose target is a path, at this endpoint.
    pub(crate) fn address<B>(
        &self,
        request: &mut Request<B>,
        target: http::uri::PathAndQuery,
    ) -> Result<(), http::uri::InvalidUriParts> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        *request.uri_mut() = Uri::from_parts(parts)?;
        request
            .headers_mut()
            .insert(http::header::HOST, self.host.clone());
        Ok(())
    }

    pub(crate) fn served(&self) -> Served {
        self.served
    }

    fn new(authority: Authority, served: Served) -> Option<Self> {
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        Some(Self {
            authority,
            host,
            served,
            in_flight: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            ended: Notify::new(),
        })
    }

    /// Calls on their way to it, or back.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire) & !CLOSED
    }

    /// Takes on one call more; `None` where there are `max` already, or it is closed.
    pub(super) fn take_on(self: &Arc<Self>, max: usize) -> Option<InFlight> {
        let more = |held: usize| (held & CLOSED == 0 && held < max).then(|| held + 1);
        let taken = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|held| {
            // After it was counted and before it is sent: another that finds it not counted here is
            // not alone with it either.
            let call = self.taken.fetch_add(1, Ordering::AcqRel) + 1;
            InFlight {
                endpoint: Arc::clone(self),
                alone: (held == 0).then_some(call),
            }
        })
    }

    /// Takes on no calls from now on, also where somebody still knows it.
    pub(super) fn close(&self) {
        self.in_flight.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Returns once no call is in flight; who wants that takes it out of the registry before.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl InFlight {
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint)
    }

    /// Whether the endpoint has worked on no other call since it took this one on.
    pub(crate) fn is_alone(&self) -> bool {
        let taken = || self.endpoint.taken.load(Ordering::Acquire);
        self.alone.is_some_and(|call| call == taken())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.endpoint.in_flight.fetch_sub(1, Ordering::AcqRel) & !CLOSED == 1 {
            self.endpoint.ended.notify_waiters();
        }
    }
}
