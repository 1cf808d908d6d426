//! What lies in the queue: a call with all that the function will need, or an answer with all that whoever
//! is told of it will.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::tracker::Standing;
use crate::functions::FunctionName;
use crate::proxy::{CALLBACK_URL, CallBody, DELIVERY_ID, Peer, leave_callback};

/// A call, or the callback that follows it, as MessagePack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    /// Ours: callers may give several calls one `X-Call-Id`.
    pub(super) id: Uuid,
    pub(super) call_id: String,
    /// As the caller wrote it.
    pub(super) function: String,
    pub(super) accepted_ms: u64,
    /// Calls that were made before.
    pub(super) attempts: u32,
    /// It is not made before.
    pub(super) due_ms: u64,
    pub(super) work: Work,
    pub(super) body: Kept,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Work {
    Call(Head),
    CallBack(Answer),
}

/// All of a call but its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// Under `/function/`, with the query; neither decoded.
    pub(super) target: String,
    /// As they came, but for the callback's.
    pub(super) headers: Headers,
    /// The address that it came from.
    pub(super) peer: ByteBuf,
    pub(super) callback: Option<String>,
}

/// All of an answer but its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The call lies among the dead letters.
    pub(super) is_dead: bool,
}

/// Where a body is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Kept {
    Here(ByteBuf),
    /// In so many parts, under a name.
    Apart {
        name: Uuid,
        parts: u32,
    },
}

/// Headers in their order; values are bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Headers(Vec<(String, ByteBuf)>);

/// Why an item is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ItemError {
    #[error("it is none of this version")]
    Encoding(#[from] rmp_serde::decode::Error),
    #[error("its target cannot be a path")]
    Target(#[from] http::uri::InvalidUri),
    #[error("its callback cannot be a header")]
    Callback(#[from] http::header::InvalidHeaderValue),
}

/// One name for each function, with or without its namespace written; as it is where it is no name.
pub(super) fn qualified(written: &str) -> String {
    match FunctionName::parse(written) {
        Ok(name) => name.qualified().to_owned(),
        Err(_) => written.to_owned(),
    }
}

impl Item {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ItemError> {
        Ok(rmp_serde::from_slice(bytes)?)
    }

    pub(super) fn written(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec_named(self)
    }

    /// What is held for it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let head = match &self.work {
            Work::Call(head) => head.target.len() + head.headers.bytes(),
            Work::CallBack(answer) => answer.headers.bytes(),
        };
        let body = match &self.body {
            Kept::Here(body) => body.len(),
            Kept::Apart { parts, .. } => *parts as usize * super::store::PART_BYTES,
        };
        head + body
    }

    pub(super) const fn is_call(&self) -> bool {
        matches!(self.work, Work::Call(_))
    }

    /// The same each time that the function is called for it, or somebody called back.
    pub(super) fn delivery_id(&self) -> HeaderValue {
        let id = HeaderValue::from_str(&format!("{:032x}", self.id.as_u128()));
        id.unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl Head {
    pub(super) fn peer(&self) -> Peer {
        Peer::known_as(&self.peer)
    }

    /// Whether its caller makes it again by itself: a flow, for one of its steps.
    pub(super) fn tries_itself(&self) -> bool {
        self.headers.has("x-turlough-attempt")
    }

    /// As the caller would have sent it to `/function/NAME`, and which delivery it is.
    pub(super) fn request(
        &self,
        delivery_id: HeaderValue,
        body: bytes::Bytes,
    ) -> Result<Request<CallBody>, ItemError> {
        let mut request = Request::new(CallBody::held(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(PathAndQuery::try_from(self.target.as_str())?);
        let mut headers = self.headers.map();
        headers.insert(DELIVERY_ID.clone(), delivery_id);
        if let Some(url) = &self.callback {
            headers.insert(CALLBACK_URL.clone(), HeaderValue::try_from(url)?);
            leave_callback(&mut headers);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl Answer {
    pub(super) fn new(url: String, head: &Parts, is_dead: bool) -> Self {
        Self {
            url,
            is_dead,
            status: head.status.as_u16(),
            headers: Headers::of(&head.headers),
        }
    }

    /// How a call stands that was answered so, once nothing is left to do.
    pub(super) const fn standing(is_dead: bool) -> Standing {
        match is_dead {
            true => Standing::Dead,
            false => Standing::Answered,
        }
    }
}

impl Headers {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let headers = headers.iter();
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), ByteBuf::from(value.as_bytes()))
        };
        Self(headers.map(pair).collect())
    }

    pub(super) fn map(&self) -> HeaderMap {
        let read = |(name, value): &(String, ByteBuf)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in self.0.iter().filter_map(read) {
            headers.append(name, value);
        }
        headers
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    fn bytes(&self) -> usize {
        let headers = self.0.iter();
        headers.map(|(name, value)| name.len() + value.len()).sum()
    }
}
