//! What a function answered, on its way to whoever is to be told.

mod caller;
mod resolver;
mod url;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;

use super::item::{Answer, Item};
use crate::proxy::{CALLBACK_URL, DELIVERY_ID};
pub(super) use caller::Caller;
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
}

impl Callback {
    /// The function's headers and body, to which the proxy has added the call's id
    /// and duration, and here its status and name.
    pub(super) fn new(
        item: &Item,
        answer: &Answer,
        body: Bytes,
        allows_link_local: bool,
    ) -> Result<Self, CallbackUrlError> {
        let mut headers = answer.headers.map();
        // Whoever is called back is asked for none.
        headers.remove(&CALLBACK_URL);
        // They would be about the callback's own connection, which is hyper's to say.
        for own in [header::HOST, header::EXPECT, header::CONTENT_LENGTH] {
            headers.remove(own);
        }
        headers.insert(FUNCTION_STATUS.clone(), answer.status.into());
        if let Ok(name) = HeaderValue::from_str(&item.function) {
            headers.insert(FUNCTION_NAME.clone(), name);
        }
        headers.insert(DELIVERY_ID.clone(), item.delivery_id());
        Ok(Self {
            url: CallbackUrl::read(&answer.url, allows_link_local)?,
            function: item.function.as_str().into(),
            headers,
            body,
        })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
