//! What is said of calls: of functions and of endpoints.

use super::formula::Text;
use super::handle::{Call, Endpoint, Node};
use crate::draft::{DraftApply, DraftHttp, DraftNode, DraftOperation, DraftText};

/// What both kinds of call have.
struct Parts<'a> {
    method: &'a mut Option<String>,
    query: &'a mut Vec<(String, DraftText)>,
    headers: &'a mut Vec<(String, DraftText)>,
    content_type: &'a mut Option<String>,
}

fn parts(node: &mut DraftNode) -> Option<Parts<'_>> {
    let (DraftOperation::Apply(DraftApply {
        method,
        query,
        headers,
        content_type,
        ..
    })
    | DraftOperation::Http(DraftHttp {
        method,
        query,
        headers,
        content_type,
        ..
    })) = &mut node.operation
    else {
        return None;
    };
    Some(Parts {
        method,
        query,
        headers,
        content_type,
    })
}

/// A kind that sends something.
pub trait Sends {}
impl<S> Sends for Call<S> {}
impl<S> Sends for Endpoint<S> {}

impl<T, P, K: Sends> Node<T, P, K> {
    fn call(self, change: impl FnOnce(Parts<'_>)) -> Self {
        self.change(|node| {
            if let Some(parts) = parts(node) {
                change(parts);
            }
        })
    }

    /// HTTP method; POST by default.
    pub fn method(self, method: &str) -> Self {
        self.call(|call| *call.method = Some(method.to_owned()))
    }

    /// A query parameter to send.
    pub fn query(self, name: &str, value: impl Into<Text>) -> Self {
        let Text(value) = value.into();
        self.call(|call| call.query.push((name.to_owned(), value)))
    }

    /// A header to send.
    pub fn header(self, name: &str, value: impl Into<Text>) -> Self {
        let Text(value) = value.into();
        self.call(|call| call.headers.push((name.to_owned(), value)))
    }

    /// How a value that a closure made is sent: `application/json` (the default) or
    /// `application/msgpack`.
    pub fn content_type(self, content_type: &str) -> Self {
        self.call(|call| *call.content_type = Some(content_type.to_owned()))
    }
}

impl<T, P, S> Node<T, P, Call<S>> {
    fn apply(self, change: impl FnOnce(&mut DraftApply)) -> Self {
        self.change(|node| {
            if let DraftOperation::Apply(apply) = &mut node.operation {
                change(apply);
            }
        })
    }

    /// Path and query after the function's name, beginning with `/` or `?`.
    pub fn path(self, path: impl Into<Text>) -> Self {
        let Text(path) = path.into();
        self.apply(|apply| apply.path = Some(path))
    }

    /// Calls the function asynchronously: it answers by a callback, and until then nothing of ours
    /// runs.
    pub fn asynchronous(self) -> Self {
        self.apply(|apply| apply.asynchronous = true)
    }

    /// Tells the function where its input lies in the store of its host, instead of sending it, and is
    /// told where the output lies: a function that reads and writes there itself.
    pub fn by_reference(self) -> Self {
        self.apply(|apply| apply.by_reference = true)
    }
}

impl<T, P, S> Node<T, P, Endpoint<S>> {
    /// The endpoint answers by a callback to the `X-Callback-Url` that it is sent.
    pub fn callback(self) -> Self {
        self.change(|node| {
            if let DraftOperation::Http(http) = &mut node.operation {
                http.callback = true;
            }
        })
    }
}
