//! Follows a request's events to its end, over connections that may break.

use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::events::{EventReader, ServerEvent};
use super::{Answer, Platform, innermost};
use crate::exit::Failure;

/// Connections in a row that brought nothing new, before the request is given up: about ten
/// seconds, in which a gateway may restart.
const FRUITLESS_MAX: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// After a request's end the stream is closed at once, unless somebody restarts it meanwhile.
const CLOSING_MAX: Duration = Duration::from_secs(2);

/// What a follower tells of.
#[derive(Debug)]
pub(crate) enum Happening {
    Step(StepEnded),
    /// Somebody else took a step on, and will call back.
    Called(String),
    /// Nothing runs; the request waits for these.
    Sleeping(Vec<Wait>),
    Paused,
    Resumed,
    Cancelling,
    Restarted,
    Signalled(String),
    /// Every event, as it came, after what is told of it.
    Logged(ServerEvent),
    Reconnecting,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StepEnded {
    pub(crate) step: String,
    pub(crate) status: String,
    pub(crate) attempt: u32,
    pub(crate) duration_ms: f64,
    /// Of a `for_each`, once it is split.
    pub(crate) items: Option<usize>,
    /// Of a `loop`: whether its body runs once more.
    pub(crate) again: Option<bool>,
    /// Of an `expand`, once its graph is there.
    pub(crate) graph_bytes: Option<u64>,
    /// Of a `wait`, once it is known.
    pub(crate) until: Option<String>,
    pub(crate) error: Option<String>,
}

/// What a request waits for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Wait {
    pub(crate) step: String,
    pub(crate) signal: Option<String>,
    pub(crate) until: Option<String>,
    #[serde(default)]
    pub(crate) callback: bool,
    #[serde(default)]
    pub(crate) flow: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ended {
    pub(crate) status: String,
    pub(crate) step: Option<String>,
    pub(crate) error: Option<String>,
    /// What went wrong while it was unwound.
    #[serde(default)]
    pub(crate) trouble: Vec<Trouble>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Trouble {
    pub(crate) step: String,
    pub(crate) error: String,
}

#[derive(Debug)]
pub(crate) struct Follower<'a> {
    platform: &'a Platform,
    /// The request's own.
    path: String,
    request: &'a str,
    seen: Option<String>,
    ended: Option<Ended>,
    /// Whether the last that was heard is that it sleeps.
    asleep: bool,
}

/// Why a connection brought no more.
enum Break {
    Ended,
    Lost { cause: String, fruitful: bool },
}

impl<'a> Follower<'a> {
    pub(crate) fn new(platform: &'a Platform, function: &str, request: &'a str) -> Self {
        Self {
            platform,
            path: format!("/function/{function}/requests/{request}"),
            request,
            seen: None,
            ended: None,
            asleep: false,
        }
    }

    /// Returns when the request has ended, whether it is kept for a restart or not.
    pub(crate) async fn until_ended(
        mut self,
        mut tell: impl FnMut(Happening),
    ) -> Result<Ended, Failure> {
        let mut fruitless = 0;
        loop {
            let lost = self.connection(&mut tell).await?;
            if let Some(ended) = self.ended.take() {
                return Ok(ended);
            }
            let (cause, fruitful) = match lost {
                Break::Ended => ("the request was restarted".to_owned(), true),
                Break::Lost { cause, fruitful } => (cause, fruitful),
            };
            fruitless = if fruitful { 0 } else { fruitless + 1 };
            if fruitless > FRUITLESS_MAX {
                let text = format!(
                    "cannot follow request {} at {}: {cause}; it may go on, see `turlough request {}`",
                    self.request,
                    self.platform.base(),
                    self.request
                );
                return Err(Failure::platform(anyhow!(text)));
            }
            if fruitless == 1 {
                tell(Happening::Reconnecting);
            }
            sleep(wait(fruitless)).await;
        }
    }

    async fn connection(&mut self, tell: &mut impl FnMut(Happening)) -> Result<Break, Failure> {
        let path = format!("{}/events?until=end", self.path);
        let mut request = self.platform.request(Method::GET, &path);
        if let Some(seen) = &self.seen {
            request = request.header("last-event-id", seen);
        }
        let lost = |cause, fruitful| Ok(Break::Lost { cause, fruitful });
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return lost(innermost(&error), false),
        };
        if response.status() != StatusCode::OK {
            let answer = self.platform.read(&path, response).await?;
            return self.refused(&answer);
        }
        let mut pieces = response.bytes_stream();
        let mut reader = EventReader::default();
        let mut fruitful = false;
        let mut closing: Option<Instant> = None;
        loop {
            let piece = match closing {
                None => pieces.next().await,
                Some(until) => match timeout_at(until, pieces.next()).await {
                    Ok(piece) => piece,
                    Err(_) => return Ok(Break::Ended),
                },
            };
            let piece = match piece {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return lost(innermost(&error), fruitful),
                None => return lost("the event stream ended".to_owned(), fruitful),
            };
            for event in reader.push(&piece).map_err(Failure::platform)? {
                fruitful = true;
                self.take(event, tell)?;
            }
            if self.asleep {
                self.asleep = false;
                self.tell_waits(tell).await;
            }
            closing = match (&self.ended, closing) {
                (None, _) => None,
                (Some(_), None) => Some(Instant::now() + CLOSING_MAX),
                (Some(_), until) => until,
            };
        }
    }

    /// What a request waits for stands in no event; without it, it is not told.
    async fn tell_waits(&self, tell: &mut impl FnMut(Happening)) {
        #[derive(Deserialize)]
        struct View {
            status: String,
            #[serde(default)]
            waits_for: Vec<Wait>,
        }
        let Ok(answer) = self.platform.get(&self.path).await else {
            return;
        };
        if let Ok(view) = answer.json::<View>("read the request")
            && view.status == "sleeping"
        {
            tell(Happening::Sleeping(view.waits_for));
        }
    }

    fn take(
        &mut self,
        event: ServerEvent,
        tell: &mut impl FnMut(Happening),
    ) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Called {
            step: String,
        }
        #[derive(Deserialize)]
        struct Signalled {
            signal: String,
        }
        self.asleep = event.name == "released";
        match event.name.as_str() {
            "step_ended" => tell(Happening::Step(self.read(&event)?)),
            "step_called" => tell(Happening::Called(self.read::<Called>(&event)?.step)),
            "signalled" => tell(Happening::Signalled(self.read::<Signalled>(&event)?.signal)),
            "pause_asked" => tell(Happening::Paused),
            "resume_asked" => tell(Happening::Resumed),
            "cancel_asked" => tell(Happening::Cancelling),
            "restart_asked" => {
                self.ended = None;
                tell(Happening::Restarted);
            }
            "ended" => self.ended = Some(self.read(&event)?),
            // Events that do not concern who waits, and those of later versions.
            _ => {}
        }
        if event.id.is_some() {
            self.seen.clone_from(&event.id);
        }
        tell(Happening::Logged(event));
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, event: &ServerEvent) -> Result<T, Failure> {
        let read = serde_json::from_str(&event.data).with_context(|| {
            format!(
                "cannot read event `{}` of request {}",
                event.name, self.request
            )
        });
        read.map_err(Failure::platform)
    }

    /// A gateway whose function restarts answers 5xx for a while; a function that has restarted
    /// answers 404, since it knows the request no more.
    fn refused(&self, answer: &Answer) -> Result<Break, Failure> {
        match answer.status {
            StatusCode::NOT_FOUND => {
                let text = format!(
                    "request {} is gone: {}; its function has restarted, and its log was in memory",
                    self.request,
                    answer.problem()
                );
                Err(Failure::platform(anyhow!(text)))
            }
            status if status.is_server_error() => Ok(Break::Lost {
                cause: answer.problem(),
                fruitful: false,
            }),
            _ => Err(answer.refused(&format!("follow request {}", self.request))),
        }
    }
}

fn wait(fruitless: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(fruitless))
        .min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const STEP: &str = "event: step_ended\ndata: {\"step\":\"a\",\"status\":\"succeeded\",\"attempt\":1,\
                        \"duration_ms\":1.0}\nid: 7\n\n";
    const ENDED: &str = "event: ended\ndata: {\"status\":\"succeeded\"}\nid: 9\n\n";
    const OK: &str = "200 OK";

    /// Follows a request at a server that gives one answer to each connection, and then refuses
    /// them. Gives what came of it, what was told, and the heads of the calls.
    async fn follow(
        answers: &[(&str, &str)],
    ) -> (Result<Ended, Failure>, Vec<String>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let answers: Vec<_> = answers
            .iter()
            .map(|(status, body)| {
                // Without a length, the body ends with the connection.
                format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}")
            })
            .collect();
        let server = tokio::spawn(async move {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                heads.push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heads
        });
        let platform = Platform::new(&url, None, None).unwrap_or_else(|f| panic!("{}", f.cause));
        let mut told = Vec::new();
        let follower = Follower::new(&platform, "flows", "id");
        let ended = follower.until_ended(|happening| match happening {
            Happening::Step(step) => told.push(step.step),
            Happening::Logged(_) => {}
            other => told.push(format!("{other:?}")),
        });
        let ended = ended.await;
        (ended, told, server.await.unwrap())
    }

    #[tokio::test]
    async fn broken_connection_is_taken_up_where_it_broke() {
        let answers = [(OK, STEP), ("502 Bad Gateway", ""), (OK, ENDED)];
        let (ended, told, heads) = follow(&answers).await;
        assert_eq!(
            ended.unwrap_or_else(|f| panic!("{}", f.cause)).status,
            "succeeded"
        );
        assert_eq!(told, ["a", "Reconnecting"]);
        assert!(
            heads[0].starts_with("GET /function/flows/requests/id/events?until=end HTTP/1.1\r\n")
        );
        assert!(!heads[0].contains("last-event-id"), "{}", heads[0]);
        assert!(heads[2].contains("last-event-id: 7\r\n"), "{}", heads[2]);
    }

    #[tokio::test]
    async fn request_that_its_function_forgot_is_given_up_at_once() {
        let (ended, ..) = follow(&[(OK, STEP), ("404 Not Found", "no request id here")]).await;
        let failure = ended.unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Platform);
        let text = failure.cause.to_string();
        assert!(text.contains("is gone: no request id here"), "{text}");
    }

    #[tokio::test]
    async fn end_before_a_restart_is_not_the_end() {
        let again = "event: restart_asked\ndata: {}\nid: 10\n\n";
        let failed = "event: ended\ndata: {\"status\":\"failed\"}\nid: 9\n\n";
        let whole = format!("{failed}{again}{ENDED}");
        let (ended, told, _) = follow(&[(OK, &whole)]).await;
        let ended = ended.unwrap_or_else(|f| panic!("{}", f.cause));
        assert_eq!(
            (&*ended.status, told),
            ("succeeded", vec!["Restarted".to_owned()])
        );
    }

    #[tokio::test]
    async fn sleeping_request_is_asked_what_it_waits_for() {
        let released = "event: released\ndata: {}\nid: 8\n\n";
        let view = "{\"status\":\"sleeping\",\"waits_for\":[{\"step\":\"ask\",\"signal\":\"go\"}]}";
        let (_, told, heads) = follow(&[(OK, released), (OK, view), (OK, ENDED)]).await;
        assert!(told[0].contains("signal: Some(\"go\")"), "{told:?}");
        assert!(heads[1].starts_with("GET /function/flows/requests/id HTTP/1.1\r\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn gateway_that_stays_away_is_given_up_with_what_to_do() {
        let (ended, told, _) = follow(&[(OK, STEP)]).await;
        let failure = ended.unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Platform);
        assert!(
            failure
                .cause
                .to_string()
                .ends_with("see `turlough request id`")
        );
        assert_eq!(told, ["a", "Reconnecting"]);
    }
}
