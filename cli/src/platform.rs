//! The platform over HTTP, as any caller sees it: a gateway, and flow-functions behind it.

mod catalog;
mod events;
mod follow;

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

pub(crate) use catalog::{Catalog, FLOW_FUNCTION_LABEL, FlowRef, Held, ServedFlow};
pub(crate) use events::ServerEvent;
pub(crate) use follow::{Ended, Follower, Happening, StepEnded, Trouble, Wait};

use crate::credentials::Credentials;
use crate::exit::Failure;

/// Where a gateway is if nobody says otherwise.
pub(crate) const GATEWAY_DEFAULT: &str = "http://127.0.0.1:8080";

/// What the gateway answers itself, and may ask a password for.
const GATEWAY_API: &str = "/system/";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two pieces of an answer. Event streams say something every 15 s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The waits before a gateway is asked again that got no answer from a replica: three seconds in all.
const AGAIN_MIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_millis(1_600);

/// How much of an answer that is no problem document is quoted.
const QUOTE_CHARS_MAX: usize = 200;

#[derive(Clone, Debug)]
pub(crate) struct Platform {
    base: String,
    /// What flow-functions ask for.
    authorization: Option<HeaderValue>,
    /// What the gateway's own API asks for; functions never get it.
    credentials: Option<Credentials>,
    http: reqwest::Client,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whose password was sent to the gateway, where one was.
    pub(crate) user: Option<String>,
}

impl Platform {
    pub(crate) fn new(
        gateway: &Url,
        token: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<Self, Failure> {
        let authorization = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            Ok::<_, anyhow::Error>(value)
        });
        let authorization = authorization
            .transpose()
            .context("the token holds characters that no header may hold")
            .map_err(Failure::input)?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(gateway) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .context("cannot make an HTTP client")
            .map_err(Failure::platform)?;
        Ok(Self {
            base: gateway.as_str().trim_end_matches('/').to_owned(),
            authorization,
            credentials,
            http,
        })
    }

    /// Whether the gateway listens on this machine, as far as its address tells.
    pub(crate) fn is_here(&self) -> bool {
        self.base.parse().is_ok_and(|url| is_loopback(&url))
    }

    /// The gateway, without a `/` at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Reads something. A replica that ended meanwhile makes no difference: another one is asked.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let mut wait = AGAIN_MIN;
        loop {
            let request = self.request(Method::GET, path);
            let answer = self.read(path, self.send(path, request).await?).await?;
            if answer.status != StatusCode::BAD_GATEWAY || wait > AGAIN_MAX {
                return Ok(answer);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let request = self.request(Method::POST, path).headers(headers).body(body);
        self.read(path, self.send(path, request).await?).await
    }

    pub(crate) async fn put(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let request = self.request(Method::PUT, path).headers(headers).body(body);
        self.read(path, self.send(path, request).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let header = match self.credentials_for(path) {
            Some(credentials) => Some(credentials.header()),
            None => self.authorization.clone(),
        };
        match header {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    fn credentials_for(&self, path: &str) -> Option<&Credentials> {
        let credentials = self.credentials.as_ref();
        credentials.filter(|_| path.starts_with(GATEWAY_API))
    }

    async fn send(&self, path: &str, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| {
            let remedy = if error.is_connect() {
                "; is `turlough dev` running? --gateway or TURLOUGH_GATEWAY_URL names another gateway"
            } else {
                ""
            };
            let text = format!("cannot ask {}{path}: {}{remedy}", self.base, innermost(&error));
            Failure::platform(anyhow!(text))
        })
    }

    async fn read(&self, path: &str, response: Response) -> Result<Answer, Failure> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| {
            let text = format!(
                "answer of {}{path} broke off: {}",
                self.base,
                innermost(&error)
            );
            Failure::platform(anyhow!(text))
        })?;
        let credentials = self.credentials_for(path);
        Ok(Answer {
            status,
            headers,
            body,
            user: credentials.map(|credentials| credentials.user().to_owned()),
        })
    }
}

impl Answer {
    /// The body as JSON, of an answer that succeeded.
    pub(crate) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, Failure> {
        if !self.status.is_success() {
            return Err(self.refused(what));
        }
        serde_json::from_slice(&self.body)
            .with_context(|| {
                format!("cannot {what}: the answer is not what a Turlough platform sends")
            })
            .map_err(Failure::platform)
    }

    /// What an answer that did not succeed means for a command that wanted to do `what`.
    pub(crate) fn refused(&self, what: &str) -> Failure {
        let said = self.problem();
        let text = match self.status {
            StatusCode::UNAUTHORIZED if self.header("www-authenticate") == Some("Signature") => {
                format!("cannot {what}: {said} (--sign-key and --sign-as sign a call)")
            }
            StatusCode::UNAUTHORIZED => {
                format!("cannot {what}: {said} ({})", self.who_would_be_let_in())
            }
            status => format!("cannot {what}: {said} (status {})", status.as_u16()),
        };
        match self.status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS => Failure::platform(anyhow!(text)),
            status if status.is_client_error() => Failure::input(anyhow!(text)),
            _ => Failure::platform(anyhow!(text)),
        }
    }

    /// What to do about a 401: gateways ask for a name and a password, flow-functions for a token.
    fn who_would_be_let_in(&self) -> String {
        if let Some(user) = &self.user {
            return format!(
                "the gateway refuses user `{user}` with this password; `faas-cli login`, or --username and \
                 --password-file, give another"
            );
        }
        let scheme = self.header(WWW_AUTHENTICATE.as_str()).unwrap_or_default();
        let scheme = scheme.split(' ').next().unwrap_or_default();
        match scheme.eq_ignore_ascii_case("basic") {
            true => {
                "the gateway asks for a user and a password: `faas-cli login`, or --username and \
                     --password-file, give them"
                    .to_owned()
            }
            false => "--token, --token-file or TURLOUGH_TOKEN gives the token".to_owned(),
        }
    }

    /// The detail of a problem document, or the beginning of what came instead. Where a request does
    /// not take what was asked of it, how it stands.
    pub(crate) fn problem(&self) -> String {
        let problem = serde_json::from_slice::<serde_json::Value>(&self.body).unwrap_or_default();
        let detail =
            problem["detail"]
                .as_str()
                .map(|detail| match problem["request_status"].as_str() {
                    Some(status) => format!("{detail} (it is {})", status.replace('_', " ")),
                    None => detail.to_owned(),
                });
        detail.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&self.body);
            let text: String = text.trim().chars().take(QUOTE_CHARS_MAX).collect();
            if text.is_empty() {
                self.status
                    .canonical_reason()
                    .unwrap_or("no answer")
                    .to_lowercase()
            } else {
                text
            }
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A text as a part of a path or a query; `/` stays, since it parts the steps of a path.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The cause at the bottom, which names what happened; those above it name URLs and layers.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer in {READ_TIMEOUT:?}");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Stands for a gateway whose replica ended: so often it has no answer.
    async fn gateway(silent: usize) -> Platform {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for turn in 0.. {
                let (mut line, _) = listener.accept().await.unwrap();
                let status = if turn < silent {
                    "502 Bad Gateway"
                } else {
                    "200 OK"
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(line.read(&mut [0; 4096]).await);
                drop(line.write_all(answer.as_bytes()).await);
            }
        });
        Platform::new(&url.parse().unwrap(), None, None).unwrap()
    }

    #[tokio::test]
    async fn a_replica_that_ended_is_not_heard_of_by_who_reads() {
        let answer = gateway(2).await.get("/requests/1").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let answer = gateway(99).await.get("/requests/1").await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn paths_of_steps_fit_a_url() {
        let path = "months[3]/poll#2/get~x é";
        assert_eq!(encoded(path), "months%5B3%5D/poll%232/get~x%20%C3%A9");
    }
}
