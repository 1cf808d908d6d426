//! `X-Timeout`: how long a caller lets a call take, in Go's notation.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};

use crate::functions::duration;

static TIMEOUT: HeaderName = HeaderName::from_static("x-timeout");

/// A header that says something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X-Timeout is {found:?}; write a duration above zero such as 10s or 1m30s, once")]
pub(crate) struct TimeoutError {
    found: String,
}

/// What a caller says; `None` where it says nothing.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, TimeoutError> {
    let mut values = headers.get_all(&TIMEOUT).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let read = text.and_then(go_duration);
    read.map(Some).ok_or_else(|| TimeoutError {
        found: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    })
}

/// Functions read it with Go's own parser, which knows none of the notations besides.
fn go_duration(text: &str) -> Option<Duration> {
    let is_go = text.bytes().all(|byte| b"0123456789.hmnsu".contains(&byte));
    duration(text).filter(|limit| is_go && !limit.is_zero())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Result<Option<Duration>, TimeoutError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&TIMEOUT, HeaderValue::from_static(value));
        }
        timeout_of(&headers)
    }

    #[test]
    fn durations_are_read_as_go_writes_them_and_nothing_else_is() {
        assert_eq!(of(&[]), Ok(None));
        for (text, ms) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1_500),
        ] {
            assert_eq!(of(&[text]), Ok(Some(Duration::from_millis(ms))), "{text}");
        }
        for text in [
            "",
            "10",
            "0s",
            "-1s",
            "s",
            "10 s",
            "10 seconds",
            "PT10S",
            "1d",
            "1e3s",
            "soon",
            "99999999999999999999h",
        ] {
            let error = of(&[text]).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert!(of(&["1s", "1s"]).is_err());
    }
}
