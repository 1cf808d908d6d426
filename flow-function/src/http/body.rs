//! Bodies: bounded in size and in patience.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::Instant;
use turlough_sdk::value::ValueWriter;
use turlough_sdk::{ContentType, Producer, Value};

use super::problem::Problem;
use crate::data::typed;
use crate::settings::Settings;

/// How long a body may pause: a caller who sends nothing holds a connection and what it has sent.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much of a body that is refused is taken all the same, and for how long: who still sends may
/// not see an answer before a connection that is closed under it.
const REFUSED_BYTES_MAX: usize = 64 << 20;
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(5);
/// Room that is reserved because a caller says that it will send as much.
const BODY_ROOM_MAX: u64 = 1 << 20;
/// Bodies up to this size are looked into on the spot: some 100 µs.
const INLINE_WORK_BYTES_MAX: usize = 64 * 1024;

/// How much a body may hold, and what to do about more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    pub(super) remedy: &'static str,
    /// In what time it has to be there, where that is said.
    pub(super) within: Option<Duration>,
}

impl Limit {
    /// The limit on what flows and steps are given.
    pub(super) const fn of_values(settings: &Settings) -> Self {
        Self {
            bytes: settings.body_bytes_max,
            remedy: "raise TURLOUGH_BODY_BYTES_MAX",
            within: settings.read_timeout,
        }
    }

    fn exceeded(self, size: u64) -> Problem {
        let (limit, remedy) = (self.bytes, self.remedy);
        let text = format!("body is {size} bytes or more, limit {limit}; {remedy}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &text)
            .with("size", size)
            .with("limit", limit)
    }
}

/// A value as a caller sent it. What says that it is JSON must be.
pub(super) async fn value(headers: &HeaderMap, body: Body, limit: Limit) -> Result<Value, Problem> {
    let value = untouched(headers, body, limit, Producer::Caller).await?;
    if value.envelope().len() <= INLINE_WORK_BYTES_MAX {
        return examine(value);
    }
    let examined = tokio::task::spawn_blocking(move || examine(value)).await;
    examined.map_err(|error| {
        let text = format!("body could not be read: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &text)
    })?
}

/// A value bit for bit.
pub(super) async fn untouched(
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
    producer: Producer,
) -> Result<Value, Problem> {
    let (announced, body) = announced(headers, body, limit).await?;
    let said = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let said = ContentType::new(said.unwrap_or_default());
    let room = usize::try_from(announced.min(BODY_ROOM_MAX)).unwrap_or(0);
    let mut writer = ValueWriter::new(said, producer, room);
    pour(body, limit, |bytes| writer.put(bytes)).await?;
    Ok(writer.finish())
}

/// A body as text.
pub(super) async fn text(headers: &HeaderMap, body: Body, limit: Limit) -> Result<String, Problem> {
    let (_, body) = announced(headers, body, limit).await?;
    let mut bytes = Vec::new();
    pour(body, limit, |more| bytes.extend_from_slice(more)).await?;
    String::from_utf8(bytes).map_err(|error| {
        let text = format!("body is not UTF-8: {}", error.utf8_error());
        Problem::new(StatusCode::BAD_REQUEST, &text)
    })
}

/// The size that a caller says its body has, 0 where it says none.
async fn announced(headers: &HeaderMap, body: Body, limit: Limit) -> Result<(u64, Body), Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    if announced > limit.bytes as u64 {
        take(body).await;
        return Err(limit.exceeded(announced));
    }
    Ok((announced, body))
}

/// Takes what is left of a body that is refused, within bounds.
async fn take(mut body: Body) {
    let taken = async {
        let mut size = 0;
        while let Some(Ok(frame)) = body.frame().await {
            size += frame.data_ref().map_or(0, bytes::Bytes::len);
            if size > REFUSED_BYTES_MAX {
                return;
            }
        }
    };
    // What does not come in time is not waited for.
    drop(tokio::time::timeout(REFUSED_WAIT_MAX, taken).await);
}

async fn pour(mut body: Body, limit: Limit, mut put: impl FnMut(&[u8])) -> Result<(), Problem> {
    let mut size = 0;
    let end = limit.within.map(|within| Instant::now() + within);
    loop {
        let pause = Instant::now() + BODY_PAUSE_MAX;
        let until = end.map_or(pause, |end| end.min(pause));
        let frame = tokio::time::timeout_at(until, body.frame()).await;
        let frame = frame.map_err(|_| {
            let text = match limit.within {
                Some(within) if until != pause => format!(
                    "body is not there after {within:?} (read_timeout), but {size} bytes of it"
                ),
                _ => format!("body paused for {BODY_PAUSE_MAX:?} after {size} bytes"),
            };
            Problem::new(StatusCode::REQUEST_TIMEOUT, &text)
        })?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| {
            let text = format!("body broke off after {size} bytes: {error}");
            Problem::new(StatusCode::BAD_REQUEST, &text)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len();
        if size > limit.bytes {
            take(body).await;
            return Err(limit.exceeded(size as u64));
        }
        put(&data);
    }
}

/// A body that says it is JSON must be; one that says nothing is JSON if it reads as JSON.
fn examine(value: Value) -> Result<Value, Problem> {
    if value.content_type().is_json() && !value.is_empty() {
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(&value.body());
        read.map_err(|error| {
            let text = format!("body is not the JSON that its content type says: {error}");
            Problem::new(StatusCode::BAD_REQUEST, &text)
        })?;
    }
    Ok(typed(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        bytes: 10,
        remedy: "raise it",
        within: None,
    };

    fn headers(length: &'static str) -> HeaderMap {
        let length = header::HeaderValue::from_static(length);
        HeaderMap::from_iter([(header::CONTENT_LENGTH, length)])
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_before_and_while_it_is_read() {
        for (length, body) in [
            ("11", "x".repeat(11)),
            ("99999999999999999999", "x".repeat(11)),
        ] {
            let read = text(&headers(length), Body::from(body), LIMIT).await;
            let problem = read.unwrap_err();
            assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE, "{length}");
        }
        let whole = text(&headers("10"), Body::from("x".repeat(10)), LIMIT).await;
        assert_eq!(whole.unwrap().len(), 10);
    }

    #[tokio::test]
    async fn what_is_no_text_and_no_json_is_refused_and_a_functions_answer_is_not_looked_into() {
        let read = text(&HeaderMap::new(), Body::from(vec![0xff]), LIMIT).await;
        assert_eq!(read.unwrap_err().status(), StatusCode::BAD_REQUEST);
        let json = header::HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let read = value(&headers, Body::from("{oops"), LIMIT).await;
        assert_eq!(read.unwrap_err().status(), StatusCode::BAD_REQUEST);
        let kept = untouched(&headers, Body::from("{oops"), LIMIT, Producer::Function).await;
        assert_eq!(kept.unwrap().body(), "{oops");
    }
}
