//! A call, as a stub sees it.

use axum::http::{HeaderMap, request};
use bytes::Bytes;
use reqwest::Url;
use serde::de::DeserializeOwned;

/// Longest body that is quoted where it is not what was expected, in characters.
const QUOTE_CHARS_MAX: usize = 300;

/// A call of a function, as its stub sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The function.
    pub function: String,
    /// Which call of this function it is in this kit, from 1.
    pub number: usize,
    /// `POST`, where the node does not say otherwise.
    pub method: String,
    /// What follows the function's name, as it was sent: empty, or it begins with `/`.
    pub path: String,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers, those of the platform included.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Which attempt of its step it is, from 1 (a node with `when` takes one to ask that); 0 where no
    /// flow called.
    pub attempt: u32,
    /// The path of the step that calls; empty where no flow called.
    pub step: String,
    /// Whether it came by `mode: async`: the answer goes to the callback.
    pub is_async: bool,
}

impl Call {
    pub(super) fn new(
        (function, path): (String, String),
        head: &request::Parts,
        body: Bytes,
        is_async: bool,
    ) -> Self {
        let text = |name: &str| head.headers.get(name)?.to_str().ok();
        let attempt = text("x-turlough-attempt").and_then(|text| text.parse().ok());
        let step = text("x-turlough-step").unwrap_or_default().to_owned();
        // Only a whole URL is read for its query.
        let url = Url::parse(&format!(
            "http://stub/?{}",
            head.uri.query().unwrap_or_default()
        ));
        let query = url.map(|url| url.query_pairs().into_owned().collect());
        Self {
            function,
            number: 0,
            method: head.method.to_string(),
            path,
            query: query.unwrap_or_default(),
            headers: head.headers.clone(),
            body,
            attempt: attempt.unwrap_or(0),
            step,
            is_async,
        }
    }

    /// The body, read as JSON.
    ///
    /// # Panics
    /// A body that is no JSON, or no such `T`.
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(data) => data,
            Err(error) => {
                let text = String::from_utf8_lossy(&self.body);
                let text: String = text.chars().take(QUOTE_CHARS_MAX).collect();
                let (number, function) = (self.number, &self.function);
                let wanted = std::any::type_name::<T>();
                panic!(
                    "test kit: body of call {number} of function {function} is no {wanted}: {error}; found {text:?}"
                )
            }
        }
    }

    /// A header as text; none where it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
