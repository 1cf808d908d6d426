//! `/system/logs`: what functions write, a JSON object a line.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::{Semaphore, mpsc};

use super::or_default;
use super::problem::Problem;
use crate::deployments::Deployments;
use crate::functions::FunctionName;
use crate::process::{LogLine, Wanted};

/// Lines that a reader may ask for from the end: they are held until all have been read. Of the longest
/// ones that is 80 MiB.
const TAIL_MAX: usize = 10_000;

/// Readers at once, each of which may hold so many lines, or follow for as long as it likes.
const READERS_MAX: usize = 16;

/// What is sent at once where more lines wait.
const CHUNK_BYTES: usize = 32 << 10;

/// Room for those who read logs.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Semaphore>);

impl Readers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READERS_MAX)))
    }
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    instance: String,
    #[serde(default, deserialize_with = "truth")]
    follow: bool,
    /// RFC 3339.
    #[serde(default)]
    since: Option<Timestamp>,
    /// The last so many lines; all where it is negative.
    #[serde(default)]
    tail: Option<i64>,
}

/// As Go reads it, which OpenFaaS and its clients are written in: faas-cli says `true`, its SDK `1`.
fn truth<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Ok(false),
        _ => Err(D::Error::custom(format!(
            "{text:?} is neither true nor false"
        ))),
    }
}

#[derive(Serialize)]
struct Message<'a> {
    name: &'a str,
    namespace: &'a str,
    instance: &'a str,
    timestamp: Timestamp,
    text: &'a str,
}

/// As OpenFaaS does, it answers 200 also for a function that is not there; a line says so.
pub(super) async fn read(
    State(deployments): State<Arc<Deployments>>,
    Extension(Readers(readers)): Extension<Readers>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked?;
    let Ok(room) = readers.try_acquire_owned() else {
        let text =
            format!("{READERS_MAX} others read logs, and no more may at once; try again later\n");
        let later = [(RETRY_AFTER, "1")];
        return Ok((StatusCode::SERVICE_UNAVAILABLE, later, text).into_response());
    };
    let name = FunctionName::new(&asked.name, &or_default(asked.namespace))?;
    let tail = asked.tail.and_then(|tail| usize::try_from(tail).ok());
    let wanted = Wanted {
        instance: Some(asked.instance).filter(|instance| !instance.is_empty()),
        since: asked.since,
        tail: tail.map(|tail| tail.min(TAIL_MAX)),
    };
    let lines = match deployments.log(&name).await {
        Some(log) => log.read(wanted, asked.follow).await,
        None => nothing(&deployments, &name),
    };
    let body = stream::unfold((lines, name, room), |(mut lines, name, room)| async move {
        let mut text = message(&name, &*lines.recv().await?);
        while text.len() < CHUNK_BYTES
            && let Ok(line) = lines.try_recv()
        {
            text.extend(message(&name, &line));
        }
        Some((
            Ok::<_, std::convert::Infallible>(Bytes::from(text)),
            (lines, name, room),
        ))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(body)).into_response())
}

fn message(name: &FunctionName, line: &LogLine) -> Vec<u8> {
    let message = Message {
        name: name.name(),
        namespace: name.namespace(),
        instance: &line.instance,
        timestamp: line.at,
        text: &line.text,
    };
    // Strings and a time are always JSON.
    let mut text = serde_json::to_vec(&message).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The one line of a function whose output is not read here.
fn nothing(deployments: &Deployments, name: &FunctionName) -> mpsc::Receiver<Arc<LogLine>> {
    let why = match deployments.registry.find(name.qualified()) {
        Some(_) => "is run by someone else, who has its output",
        None => "is not deployed",
    };
    let line = LogLine {
        at: Timestamp::now(),
        instance: Arc::from(""),
        text: format!("function `{name}` {why}"),
    };
    let (sender, lines) = mpsc::channel(1);
    // There is room for one.
    let _ = sender.try_send(Arc::new(line));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_to_follow_is_read_as_go_writes_it() {
        let follow = |query: &str| {
            let uri = format!("/system/logs?name=it{query}").parse().unwrap();
            let asked = Query::<Asked>::try_from_uri(&uri);
            asked
                .map(|Query(asked)| asked.follow)
                .map_err(|error| error.body_text())
        };
        for text in ["&follow=1", "&follow=true", "&follow=T"] {
            assert_eq!(follow(text), Ok(true), "{text}");
        }
        for text in ["", "&follow=0", "&follow=false", "&follow=F", "&follow="] {
            assert_eq!(follow(text), Ok(false), "{text}");
        }
        let error = follow("&follow=maybe").unwrap_err();
        assert!(
            error.contains("\"maybe\" is neither true nor false"),
            "{error}"
        );
    }
}
