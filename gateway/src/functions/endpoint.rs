//! Where one replica of a function answers.

use std::net::SocketAddr;

use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, Request};

/// An HTTP origin, with what a request to it needs made ready.
#[derive(Debug)]
pub(crate) struct Endpoint {
    authority: Authority,
    host: HeaderValue,
}

impl Endpoint {
    /// Reads `http://host:port`; anything else is `None`.
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let uri: Uri = address.parse().ok()?;
        let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/";
        if !plain || uri.query().is_some() {
            return None;
        }
        Self::new(uri.authority()?.clone())
    }

    pub(crate) fn local(address: SocketAddr) -> Option<Self> {
        Self::new(Authority::try_from(address.to_string()).ok()?)
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

    fn new(authority: Authority) -> Option<Self> {
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        Some(Self { authority, host })
    }
}
