//! What a function answered, on its way to whoever is to be told.

mod caller;
mod url;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Request};
use http_body_util::Full;

use super::queue::Place;
pub(super) use caller::{Caller, Retry};
pub(super) use url::{CallbackUrl, CallbackUrlError};

static FUNCTION_STATUS: HeaderName = HeaderName::from_static("x-function-status");
static FUNCTION_NAME: HeaderName = HeaderName::from_static("x-function-name");

/// A request that is to be sent until it is taken.
#[derive(Debug)]
pub(super) struct Callback {
    url: CallbackUrl,
    function: Box<str>,
    headers: HeaderMap,
    body: Bytes,
    /// The call is not over before its callback is.
    _place: Place,
}

impl Callback {
    /// The function's headers and body, to which the proxy has added the call's id
    /// and duration, and here its status and name.
    pub(super) fn new(
        url: CallbackUrl,
        function: &str,
        head: Parts,
        body: Bytes,
        place: Place,
    ) -> Self {
        let mut headers = head.headers;
        // They would be about the callback's own connection, which is hyper's to say.
        for own in [header::HOST, header::EXPECT, header::CONTENT_LENGTH] {
            headers.remove(own);
        }
        headers.insert(FUNCTION_STATUS.clone(), head.status.as_u16().into());
        if let Ok(name) = HeaderValue::from_str(function) {
            headers.insert(FUNCTION_NAME.clone(), name);
        }
        Self {
            url,
            function: function.into(),
            headers,
            body,
            _place: place,
        }
    }

    /// What it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
