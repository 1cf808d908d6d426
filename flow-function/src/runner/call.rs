//! Calls: of a function through the gateway, of any other endpoint by its address.
//!
//! Invariants: what a failure says is whether the call was made, as far as anybody can know: a
//! connection that was refused is known, one that was lost is not; an answer of any status is.

mod way;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use turlough_sdk::value::ValueWriter;
use turlough_sdk::{Apply, Cause, ContentType, Digest, Http, Producer, StepError, Text, Value};

use super::scope::Scope;
use super::text::{Hidden, Texts, clean_path, with_query};
use super::{Failure, INLINE_WORK_BYTES_MAX, blocking, cut, lent};
use crate::data::Lent;
use crate::machine::Work;
use crate::outside;
use crate::trace::traceparent;
use way::{Answer, Way};

/// Longest wait that somebody who is called may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// How much of an error answer is quoted, in bytes.
const QUOTE_BYTES_MAX: usize = 300;
const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-turlough-request-id");
const STEP: HeaderName = HeaderName::from_static("x-turlough-step");
const ATTEMPT: HeaderName = HeaderName::from_static("x-turlough-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const DATA_REF: HeaderName = HeaderName::from_static("x-turlough-data-ref");
const DATA_KEY: HeaderName = HeaderName::from_static("x-turlough-data-key");
const DATA_AUTH: HeaderName = HeaderName::from_static("x-turlough-data-auth");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("x-turlough-idempotency-key");

/// A call that is about to be made.
#[derive(Debug)]
pub(super) struct Outgoing {
    way: Way,
    method: Method,
    /// A URL; to the gateway, what follows the gateway's.
    url: String,
    headers: HeaderMap,
    msgpack: bool,
    /// Who is called, for people.
    what: String,
    hidden: Hidden,
}

impl Outgoing {
    /// The call of a function.
    pub(super) async fn apply(
        scope: &Scope,
        apply: &Apply,
        input: &Value,
    ) -> Result<Self, Failure> {
        let shared = &scope.context().shared;
        let mut texts = Texts::new(scope, input);
        let path = texts.read(&apply.path, "path").await?;
        clean_path(&path)?;
        let query = query(&mut texts, &apply.query).await?;
        let headers = headers(&mut texts, &apply.headers).await?;
        let route = if apply.asynchronous {
            "async-function"
        } else {
            "function"
        };
        let function = &apply.function;
        // The gateway takes no other on the asynchronous route.
        let method = if apply.asynchronous {
            "POST"
        } else {
            &apply.method
        };
        Ok(Self {
            way: Way::Gateway(shared.gateway.clone()),
            method: method.parse().map_err(StepError::permanent)?,
            url: with_query(format!("/{route}/{function}{path}"), &query),
            headers,
            msgpack: apply.msgpack,
            what: format!("function {function}"),
            hidden: texts.hidden,
        })
    }

    /// The call of an endpoint.
    pub(super) async fn http(scope: &Scope, http: &Http, input: &Value) -> Result<Self, Failure> {
        let shared = &scope.context().shared;
        let mut texts = Texts::new(scope, input);
        let text = texts.read(&http.url, "url").await?;
        let node = &scope.run().node().id;
        let what = match &http.url {
            Text::Literal(url) => format!("endpoint {url}"),
            _ => format!("the endpoint of {node}"),
        };
        let checked = outside::check_url(&text, &shared.settings.http_allow);
        let url = match (&http.url, checked) {
            (Text::Secret(_), Err(_)) => Err("its URL is refused".to_owned()),
            (Text::Secret(_), Ok(url)) => {
                // Neither may the host of a secret address be told by whoever cannot reach it.
                texts.hidden.add(url.host_str().unwrap_or_default());
                Ok(url)
            }
            (_, Ok(url)) if !url.username().is_empty() || url.password().is_some() => {
                Err("its URL has credentials in it, which belong in a secret".to_owned())
            }
            (_, checked) => checked,
        };
        let mut url =
            url.map_err(|reason| StepError::permanent(format!("call of {what}: {reason}")))?;
        url.set_fragment(None);
        let query = query(&mut texts, &http.query).await?;
        Ok(Self {
            way: Way::Outside(shared.outside.clone()),
            method: http.method.parse().map_err(StepError::permanent)?,
            url: with_query(url.into(), &query),
            headers: headers(&mut texts, &http.headers).await?,
            msgpack: http.msgpack,
            what,
            hidden: texts.hidden,
        })
    }

    /// Makes the call, and takes its answer.
    pub(super) async fn answer(self, scope: &Scope, input: &Value) -> Result<Value, Failure> {
        let answer = self.send(scope, input, None).await?;
        if answer.status().is_success() {
            self.read(scope, answer).await
        } else {
            Err(self.refused(answer).await)
        }
    }

    /// Makes the call of a function that is lent the store, and takes what it says of its output, or the
    /// output itself.
    pub(super) async fn answer_by_reference(
        mut self,
        scope: &Scope,
        lent: &Lent,
        digest: Option<Digest>,
    ) -> Result<(Option<String>, Value), Failure> {
        let text = |text: &str| HeaderValue::from_str(text).map_err(StepError::permanent);
        if let Some(input) = &lent.input {
            self.headers.append(DATA_REF, text(input)?);
        }
        self.headers.append(DATA_KEY, text(&lent.key)?);
        if let Some(auth) = &lent.auth {
            let (_, credential) = auth.split_once(' ').unwrap_or_default();
            let mut auth = text(auth)?;
            auth.set_sensitive(true);
            self.headers.append(DATA_AUTH, auth);
            self.hidden.add(credential);
        }
        let digest = digest.unwrap_or_else(|| Digest::of(b""));
        let body = (ContentType::BYTES, Bytes::new());
        let answer = self.send_body(scope, body, digest, None).await?;
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        let said = answer.headers().get(DATA_REF);
        let said = said.map(|said| lent::said(said.as_bytes())).transpose();
        let said = said.map_err(|error| scope.afterwards(error.into()))?;
        Ok((said, self.read(scope, answer).await?))
    }

    /// Makes the call, which somebody answers later by the callback.
    pub(super) async fn hand_over(
        self,
        scope: &Scope,
        input: &Value,
        callback: &str,
    ) -> Result<(), Failure> {
        let callback = HeaderValue::from_str(callback).map_err(StepError::permanent)?;
        let answer = self.send(scope, input, Some(callback)).await?;
        if answer.status().is_success() {
            answer.discard();
            Ok(())
        } else {
            Err(self.refused(answer).await)
        }
    }

    async fn send(
        &self,
        scope: &Scope,
        input: &Value,
        callback: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let (content_type, body) = leaving(input, self.msgpack).await?;
        let digest = Digest::of(&body);
        self.send_body(scope, (content_type, body), digest, callback)
            .await
    }

    async fn send_body(
        &self,
        scope: &Scope,
        (content_type, body): (ContentType, Bytes),
        input: Digest,
        callback: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let (run, context) = (scope.run(), scope.context());
        let text = |text: &str| HeaderValue::from_str(text).map_err(StepError::permanent);
        let mut headers = self.headers.clone();
        headers.append(REQUEST_ID, text(&context.request.to_string())?);
        headers.append(STEP, text(run.step.as_str())?);
        headers.append(ATTEMPT, run.attempt.into());
        let trace = context.traceparent(run).and_then(traceparent);
        headers.extend(trace.map(|it| (TRACEPARENT, it)));
        headers.append(IDEMPOTENCY_KEY, text(&idempotency_key(scope, input))?);
        if let Some(callback) = callback {
            headers.append(CALLBACK_URL, callback);
        }
        // A body is no part of these, and a server that does not read it takes it for the next request.
        let has_body = ![Method::GET, Method::HEAD].contains(&self.method);
        if has_body && !headers.contains_key(CONTENT_TYPE) {
            let media = HeaderValue::from_str(content_type.as_str());
            let unsaid = HeaderValue::from_static("application/octet-stream");
            headers.insert(CONTENT_TYPE, media.unwrap_or(unsaid));
        }
        scope.in_time()?;
        let whom = (self.method.clone(), self.url.as_str());
        let answer = self.way.send(whom, headers, has_body.then_some(body)).await;
        Ok(answer.map_err(|unanswered| {
            let message = format!("call of {}: {}", self.what, unanswered.reason);
            StepError {
                message: self.hidden.clean(message),
                cause: unanswered.cause,
            }
        })?)
    }

    /// What an answer says that is no success. 408, 429 and 5xx may pass, others will not.
    async fn refused(&self, mut answer: Answer) -> Failure {
        let status = answer.status();
        let wait = retry_after(answer.headers());
        let by_gateway = answer.headers().contains_key("x-openfaas-internal");
        // Secrets are taken out before it is cut, so that no half of one is left.
        let limit = QUOTE_BYTES_MAX + self.hidden.bytes_max();
        let mut quote = Vec::new();
        // What an error answer says is more than that it broke off.
        while let Ok(Some(chunk)) = answer.chunk().await {
            let room = limit - quote.len();
            quote.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if quote.len() == limit {
                break;
            }
        }
        let mut quote = self
            .hidden
            .clean(String::from_utf8_lossy(&quote).trim().to_owned());
        cut(&mut quote, QUOTE_BYTES_MAX);
        let what = &self.what;
        let text = if by_gateway && quote.is_empty() {
            format!("{what} gave the gateway no answer ({status}); see the function's log")
        } else {
            format!("{what} answered {status}: {quote:?}")
        };
        if by_gateway && [502, 504].contains(&status.as_u16()) {
            // The function may have got the call, and may have done what it asks.
            let cause = Cause::Unanswered;
            let message = text;
            StepError { message, cause }.into()
        } else if let ([429 | 503], Some(wait)) = ([status.as_u16()], wait) {
            Failure::Busy(StepError::transient(text), wait)
        } else if status.is_server_error() || [408, 429].contains(&status.as_u16()) {
            StepError::transient(text).into()
        } else {
            StepError::permanent(text).into()
        }
    }

    async fn read(&self, scope: &Scope, mut answer: Answer) -> Result<Value, Failure> {
        let what = &self.what;
        let limit = scope.context().shared.settings.body_bytes_max;
        let too_large = |size: u64| {
            let text = format!(
                "{what} answered with {size} bytes or more, limit {limit}; raise \
                 TURLOUGH_BODY_BYTES_MAX"
            );
            scope.afterwards(StepError::permanent(text).into())
        };
        let announced = answer.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(too_large(announced));
        }
        let media = answer.headers().get(CONTENT_TYPE);
        let media = media.and_then(|value| value.to_str().ok());
        let media = media.map_or(ContentType::BYTES, ContentType::new);
        let room = usize::try_from(announced).unwrap_or(0);
        let mut writer = ValueWriter::new(media, Producer::Function, room);
        loop {
            let chunk = answer.chunk().await.map_err(|reason| StepError {
                message: self
                    .hidden
                    .clean(format!("answer of {what} broke off: {reason}")),
                cause: Cause::Unanswered,
            })?;
            let Some(chunk) = chunk else { break };
            let size = writer.body_bytes() + chunk.len();
            if size > limit {
                return Err(too_large(size as u64));
            }
            writer.put(&chunk);
        }
        Ok(writer.finish())
    }
}

/// How long somebody asks not to be called again: in seconds, or until a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = httpdate::parse_http_date(text).ok()?;
            until.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

async fn query(
    texts: &mut Texts<'_>,
    query: &[(String, Text)],
) -> Result<Vec<(String, String)>, Failure> {
    let mut sent = Vec::with_capacity(query.len());
    for (name, text) in query {
        let value = texts.read(text, &format!("query parameter {name}")).await?;
        sent.push((name.clone(), value));
    }
    Ok(sent)
}

async fn headers(texts: &mut Texts<'_>, headers: &[(String, Text)]) -> Result<HeaderMap, Failure> {
    let mut sent = HeaderMap::with_capacity(headers.len());
    for (name, text) in headers {
        let value = texts.read(text, &format!("header {name}")).await?;
        let name: HeaderName = name.parse().map_err(StepError::permanent)?;
        let refused = |_| StepError::permanent(format!("header {name} is not one line of text"));
        let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(refused)?;
        value.set_sensitive(matches!(text, Text::Secret(_)));
        sent.append(name, value);
    }
    Ok(sent)
}

/// The input as it is sent. Turning much MessagePack into JSON takes the processor for a while.
async fn leaving(input: &Value, msgpack: bool) -> Result<(ContentType, Bytes), StepError> {
    if input.envelope().len() as u64 <= INLINE_WORK_BYTES_MAX {
        return input.leaving(msgpack).map_err(StepError::permanent);
    }
    let input = input.clone();
    blocking::run(move || input.leaving(msgpack).map_err(StepError::permanent)).await
}

/// The same for every attempt on the same input until a restart resets the step; another for another
/// input, and another for what stands in for the step.
fn idempotency_key(scope: &Scope, input: Digest) -> String {
    let (run, request) = (scope.run(), scope.context().request);
    let generation = run.generation;
    let part = match run.work {
        Work::Fallback => "/~fallback",
        _ => "",
    };
    let name = format!("{request}/{generation}/{}{part}/{input}", run.step);
    Digest::of(name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_read_in_seconds_and_as_a_date_and_bounded() {
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(
            (wait("7"), wait(" 0 "), wait("86400")),
            (Some(7), Some(0), Some(3_600))
        );
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(wait("Tue, 31 Dec 2199 23:59:59 GMT"), Some(3_600));
        for text in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(wait(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
