//! Calls: what is sent, and where. What an author may not say would break the message that carries
//! it, or reach what he must not.

use super::{At, Check, Limits};
use crate::draft::{DraftApply, DraftHttp, DraftText};
use crate::graph::{Apply, Http, Operation, Text};

const METHODS: [&str; 7] = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Headers that frame a message, or that the platform sends: one of an author's would break them.
const RESERVED_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-callback-url",
];

/// Begins the names of the platform's own headers.
const PLATFORM_PREFIX: &str = "x-turlough-";

/// Headers of a caller that prove who he is: recorded, they would outlive his call.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl Check<'_> {
    pub(super) fn apply(&mut self, draft: DraftApply, at: At<'_>) -> Option<Operation> {
        let function = draft.function.parse().map_err(|error: crate::IdError| {
            self.problem(at, error.to_string());
        });
        let method = self.method(draft.method, at);
        let path = match draft.path {
            None => Some(Text::Literal(String::new())),
            Some(path) => {
                if let DraftText::Literal(path) = &path {
                    self.refuse_path(path, at);
                }
                self.text(path, "path", at)
            }
        };
        let query = self.query(draft.query, at);
        let headers = self.headers(draft.headers, at);
        let msgpack = self.msgpack(draft.content_type.as_deref(), at);
        if draft.by_reference {
            let texts = query.iter().chain(&headers).map(|(_, text)| text);
            let mut texts = texts.chain(path.as_ref());
            let computes = texts.any(|text| matches!(text, Text::Jq(_)));
            self.refuse_with_reference(draft.asynchronous, computes, at);
        }
        Some(Operation::Apply(Apply {
            function: function.ok()?,
            method,
            path: path?,
            query,
            headers,
            msgpack,
            asynchronous: draft.asynchronous,
            by_reference: draft.by_reference,
        }))
    }

    /// What does not go with an input that is not read here.
    fn refuse_with_reference(&mut self, asynchronous: bool, computes: bool, at: At<'_>) {
        if asynchronous {
            let text = "data: reference lends the store for as long as a call, and mode: async ends \
                        it at once; write mode: sync";
            self.problem(at, text.to_owned());
        }
        if computes {
            let text = "data: reference reads no input here, and its path, query and headers are \
                        computed on it; write them as they are, or let the function read them";
            self.problem(at, text.to_owned());
        }
    }

    pub(super) fn http(&mut self, draft: DraftHttp, at: At<'_>) -> Option<Operation> {
        if let DraftText::Literal(url) = &draft.url
            && let Err(why) = url_is_sound(url)
        {
            let url: String = url.chars().take(200).collect();
            let text = format!("url {url:?} {why}; write http://HOST/PATH or https://HOST/PATH");
            self.problem(at, text);
        }
        let url = self.text(draft.url, "url", at);
        let method = self.method(draft.method, at);
        let query = self.query(draft.query, at);
        let headers = self.headers(draft.headers, at);
        let msgpack = self.msgpack(draft.content_type.as_deref(), at);
        Some(Operation::Http(Http {
            url: url?,
            method,
            query,
            headers,
            msgpack,
            callback: draft.callback,
        }))
    }

    fn method(&mut self, method: Option<String>, at: At<'_>) -> String {
        let method = method.unwrap_or_else(|| "POST".to_owned());
        if !METHODS.contains(&method.as_str()) {
            let found: String = method.chars().take(80).collect();
            let known = METHODS.join(", ");
            let text = format!("method {found:?} is unknown; write one of {known}");
            self.problem(at, text);
        }
        method
    }

    fn msgpack(&mut self, content_type: Option<&str>, at: At<'_>) -> bool {
        if let Some(found) = content_type
            && !matches!(found, "application/json" | "application/msgpack")
        {
            let found: String = found.chars().take(80).collect();
            let known = "application/json or application/msgpack";
            let text = format!("content_type {found:?} is unknown; write {known}");
            self.problem(at, text);
        }
        content_type == Some("application/msgpack")
    }

    fn refuse_path(&mut self, path: &str, at: At<'_>) {
        let clean = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !clean || !(path.is_empty() || path.starts_with(['/', '?'])) {
            let path: String = path.chars().take(200).collect();
            let text = format!("path {path:?} is no URL path; begin it with / or ?, and escape it");
            self.problem(at, text);
        }
    }

    fn query(&mut self, query: Vec<(String, DraftText)>, at: At<'_>) -> Vec<(String, Text)> {
        self.refuse_many("query parameters", query.len(), Limits::QUERY_MAX, at);
        let mut sent = Vec::with_capacity(query.len());
        for (name, value) in query {
            let limit = Limits::NAME_BYTES_MAX;
            if name.is_empty() || name.len() > limit || name.chars().any(char::is_control) {
                let name: String = name.chars().take(80).collect();
                let text = format!(
                    "query parameter {name:?} is not allowed; write a name of one line, 1 to \
                     {limit} bytes"
                );
                self.problem(at, text);
            }
            if let Some(value) = self.text(value, "query parameter", at) {
                sent.push((name, value));
            }
        }
        sent
    }

    fn headers(&mut self, headers: Vec<(String, DraftText)>, at: At<'_>) -> Vec<(String, Text)> {
        self.refuse_many("headers", headers.len(), Limits::HEADERS_MAX, at);
        let mut sent = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let shown = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
            if let Some(text) = header_name_problem(&name) {
                self.problem(at, text);
            } else if let DraftText::Literal(value) = &value
                && !value.bytes().all(shown)
            {
                let value: String = value.chars().take(200).collect();
                let text =
                    format!("header {name}: {value:?} is not one line of plain text; mend it");
                self.problem(at, text);
            } else if is_reserved(&name.to_ascii_lowercase()) {
                let text = format!("header {name} is the platform's own; take it out");
                self.problem(at, text);
            }
            if let Some(value) = self.text(value, "header", at) {
                sent.push((name, value));
            }
        }
        sent
    }

    /// The names of the caller's headers that a flow records, in lower case.
    pub(super) fn recorded_headers(&mut self, draft: Vec<crate::draft::Located>) -> Vec<String> {
        let (found, limit) = (draft.len(), Limits::HEADERS_MAX);
        if found > limit {
            let line = draft[0].line;
            self.problems.add(line, None, || {
                format!("{found} headers, limit {limit}; take some out")
            });
            return Vec::new();
        }
        let mut names: Vec<String> = Vec::with_capacity(found);
        for header in draft {
            let name = header.text.to_ascii_lowercase();
            let problem = if CREDENTIALS.contains(&name.as_str()) {
                Some(format!(
                    "header {name} proves who the caller is, and is never recorded; take it out"
                ))
            } else if names.contains(&name) {
                Some(format!("header {name} is written twice; write it once"))
            } else {
                header_name_problem(&name)
            };
            match problem {
                Some(text) => self.problems.add(header.line, None, || text),
                None => names.push(name),
            }
        }
        names
    }

    fn refuse_many(&mut self, what: &str, found: usize, limit: usize, at: At<'_>) {
        if found > limit {
            self.problem(at, format!("{found} {what}, limit {limit}; take some out"));
        }
    }

    fn text(&mut self, draft: DraftText, what: &str, at: At<'_>) -> Option<Text> {
        match draft {
            DraftText::Literal(text) => {
                let (found, limit) = (text.len(), Limits::TEXT_BYTES_MAX);
                if found > limit {
                    let text = format!("{what} of {found} bytes, limit {limit}; shorten it");
                    self.problem(at, text);
                }
                Some(Text::Literal(text))
            }
            DraftText::Jq(jq) => self.expression(&jq, at).map(Text::Jq),
            DraftText::Secret(name) if is_secret(&name) => Some(Text::Secret(name)),
            DraftText::Secret(name) => {
                let name: String = name.chars().take(80).collect();
                let text = format!(
                    "secret {name:?} is not allowed; write letters, digits, -, _ and ., at most \
                     253, a letter or digit first"
                );
                self.problem(at, text);
                None
            }
        }
    }
}

fn header_name_problem(name: &str) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let sound = !name.is_empty() && name.len() <= Limits::NAME_BYTES_MAX;
    if sound && name.bytes().all(token) {
        return None;
    }
    let name: String = name.chars().take(80).collect();
    Some(format!(
        "header name {name:?} is not allowed; write letters, digits and -"
    ))
}

fn is_reserved(name: &str) -> bool {
    RESERVED_HEADERS.contains(&name) || name.starts_with(PLATFORM_PREFIX)
}

/// A file of this name lies in the folder of the secrets, and nowhere else.
fn is_secret(name: &str) -> bool {
    name.len() <= 253
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// An absolute URL without credentials and fragment; where it may lead is seen when it is called.
fn url_is_sound(url: &str) -> Result<(), &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("is not absolute")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("is neither http nor https");
    }
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if !rest.bytes().all(plain) {
        return Err("has characters that must be escaped");
    }
    if rest.contains('#') {
        return Err("has a fragment, which is never sent");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has credentials in it, which belong in a secret");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|port| !digits(port) || port.parse::<u16>().is_err()) {
        return Err("has a port that is no number up to 65535");
    }
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(name)
        }
    };
    if is_host { Ok(()) } else { Err("has no host") }
}
