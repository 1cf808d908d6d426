//! One call as it waits: all that the function and the callback will need.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};

use super::callback::CallbackUrl;
use crate::functions::FunctionName;
use crate::proxy::{CallBody, Peer, Proxy};

#[derive(Debug)]
pub(super) struct AsyncCall {
    /// Under `/function/`, with the query; neither decoded.
    pub(super) target: PathAndQuery,
    /// As they came, but for the callback's.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) peer: Peer,
    pub(super) callback: Option<CallbackUrl>,
}

impl AsyncCall {
    /// The function's name as the caller wrote it; it may be no name at all.
    pub(super) fn function(&self) -> &str {
        Proxy::named(self.target.as_str())
    }

    /// One name for each function, with or without its namespace written.
    pub(super) fn lane(&self) -> String {
        let written = self.function();
        match FunctionName::parse(written) {
            Ok(name) => name.qualified().to_owned(),
            Err(_) => written.to_owned(),
        }
    }

    /// As the caller would have sent it to `/function/NAME`.
    pub(super) fn into_request(self) -> Request<CallBody> {
        let mut request = Request::new(CallBody::held(self.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = self.headers;
        request
    }
}
