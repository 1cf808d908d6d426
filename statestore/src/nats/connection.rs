//! The connection: how it stands, and requests over it.
//!
//! Invariant: a request is answered over the connection that it was sent on, or counts as not
//! answered. The client would wait for longer, and send what it kept once it is connected again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, Message, Request, ServerAddr};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::api::Failure;
use crate::error::StateError;
use crate::state::{Link, Options};

/// Within it a server is connected to when the state is opened, or it counts as away.
const OPEN_TIME: Duration = Duration::from_secs(5);
/// Within it a server answers; several times what a cluster takes to choose a new leader.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Between pings: after two without an answer the connection counts as broken.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Between two attempts to connect again, at most: soon enough not to be noticed beside the
/// server's own start.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// Messages that wait for one reader within this process: more than a reader ever asks for.
const MESSAGES_MAX: usize = 8192;
/// Events of the connection that wait to be looked at. Lost ones are made good by [`LOOK_INTERVAL`].
const EVENTS_MAX: usize = 64;
/// How often the connection is looked at without being told of anything.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to the servers, which comes back by itself.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// The servers as they may be shown.
    servers: String,
    link: watch::Receiver<Link>,
    /// The last thing that the server did not permit.
    denied: watch::Receiver<String>,
    _keeper: DropGuard,
}

impl Connection {
    pub(super) async fn open(url: &str, options: &Options) -> Result<Arc<Self>, StateError> {
        let (addresses, servers) = addresses(url)?;
        let attempted = format!("connecting to the state at {servers}");
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let mut settings = async_nats::ConnectOptions::new()
            .name(format!("turlough {} {}", options.tenant, options.function))
            .connection_timeout(OPEN_TIME)
            .ping_interval(PING_INTERVAL)
            .request_timeout(None)
            .subscription_capacity(MESSAGES_MAX)
            .max_reconnects(None)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                drop(sender.try_send(event));
                std::future::ready(())
            });
        settings = match login(&addresses) {
            Some((user, Some(password))) => settings.user_and_password(user, password),
            Some((token, None)) => settings.token(token),
            None => settings,
        };
        if let Some(path) = &options.credentials {
            settings = settings.credentials_file(path).await.map_err(|error| {
                let reason = format!(
                    "credentials file {}: {error}; set TURLOUGH_STATE_CREDENTIALS to one that can be read",
                    path.display()
                );
                StateError::Setting {
                    attempted: attempted.clone(),
                    reason,
                }
            })?;
        }
        let client = match tokio::time::timeout(OPEN_TIME, settings.connect(addresses)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(not_connected(attempted, &error)),
            Err(_) => {
                let reason = format!("no answer within {} s", OPEN_TIME.as_secs());
                return Err(StateError::Unavailable { attempted, reason });
            }
        };
        Ok(Arc::new(Self::keep(client, servers, events)))
    }

    fn keep(client: Client, servers: String, events: mpsc::Receiver<Event>) -> Self {
        let (link_sender, link) = watch::channel(Link {
            era: era(&client),
            is_up: true,
            since: Instant::now(),
        });
        let (denied_sender, denied) = watch::channel(String::new());
        let keeper = Keeper {
            client: client.clone(),
            events,
            link: link_sender,
            denied: denied_sender,
            servers: servers.clone(),
        };
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(keeper.keep()));
        Self {
            client,
            servers,
            link,
            denied,
            _keeper: end.drop_guard(),
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn servers(&self) -> &str {
        &self.servers
    }

    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// The number of the connection, as it is at this moment.
    pub(super) fn era(&self) -> u64 {
        era(&self.client)
    }

    /// The number of the connection, if it stands.
    pub(super) fn standing(&self) -> Result<u64, Failure> {
        if is_up(&self.client) {
            Ok(self.era())
        } else {
            let reason = format!("the connection to {} is down", self.servers);
            Err(Failure::NotSent(reason))
        }
    }

    /// Returns when the connection of an era has ended.
    pub(super) async fn ended(&self, era: u64) {
        let mut link = self.link();
        // The keeper may not have heard of this one yet.
        let is_other = |link: &Link| link.era > era || (link.era == era && !link.is_up);
        // The keeper ends with this connection's last user: then nobody waits here.
        drop(link.wait_for(is_other).await);
    }

    /// Sends a message, and waits for its answer.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Failure> {
        let era = self.standing()?;
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let unanswered = |reason: String| Err(Failure::Unanswered(reason));
        let denied = self.denied(subject);
        tokio::select! {
            biased; // an answer that is there counts, whatever else happened
            answer = self.client.send_request(subject.to_owned(), request) => {
                answer.map_err(|error| Failure::of(&error))
            }
            () = self.ended(era) => {
                unanswered(format!("the connection to {} ended", self.servers))
            }
            text = denied => Err(Failure::Denied(text)),
            () = tokio::time::sleep(ANSWER_TIME) => {
                unanswered(format!("{} did not answer within {} s", self.servers, ANSWER_TIME.as_secs()))
            }
        }
    }

    /// Ends when the server does not permit something on a subject, from this call on: it says so
    /// beside the answers.
    fn denied(&self, subject: &str) -> impl Future<Output = String> {
        let mut denied = self.denied.clone();
        denied.mark_unchanged();
        async move {
            while denied.changed().await.is_ok() {
                let text = denied.borrow_and_update();
                // Servers have written it in lower case, too.
                if text
                    .to_lowercase()
                    .contains(&format!("\"{}\"", subject.to_lowercase()))
                {
                    return text.clone();
                }
            }
            std::future::pending().await
        }
    }
}

/// Owns how the connection stands, and tells it.
struct Keeper {
    client: Client,
    events: mpsc::Receiver<Event>,
    link: watch::Sender<Link>,
    denied: watch::Sender<String>,
    servers: String,
}

impl Keeper {
    async fn keep(mut self) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    // The client tells before its own state changes.
                    Some(Event::Connected) => self.tell(true),
                    Some(Event::Disconnected | Event::Closed) => self.tell(false),
                    Some(Event::ServerError(error)) => self.hear(&error.to_string()),
                    Some(_) => {}
                    None => return self.tell(false),
                },
                _ = looks.tick() => self.tell(is_up(&self.client)),
            }
        }
    }

    fn tell(&self, is_up: bool) {
        let era = era(&self.client);
        let is_news = self.link.send_if_modified(|link| {
            let is_new = (link.era, link.is_up) != (era, is_up);
            if is_new {
                let since = Instant::now();
                *link = Link { era, is_up, since };
            }
            is_new
        });
        match is_up {
            true if is_news => info!(servers = %self.servers, "connected to nats again"),
            false if is_news => {
                warn!(servers = %self.servers, "the connection to nats broke; it is made again");
            }
            _ => {}
        }
    }

    fn hear(&self, text: &str) {
        if text.to_ascii_lowercase().contains("permissions violation") {
            self.denied.send_replace(text.to_owned());
        }
    }
}

/// How often the client has connected.
fn era(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::SeqCst)
}

fn is_up(client: &Client) -> bool {
    client.connection_state() == async_nats::connection::State::Connected
}

/// At once, then doubling from 4 ms, spread so that not all clients of a server come at one time.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let doubled = Duration::from_millis(4 << attempts.min(10)).min(DELAY_MAX);
    let spread = RandomState::new().hash_one(attempts) % 1000;
    doubled / 2 + doubled / 2 * spread as u32 / 1000
}

/// The servers that a URL names, and how they may be shown: without passwords.
fn addresses(url: &str) -> Result<(Vec<ServerAddr>, String), StateError> {
    let scheme = url.split_once("://").map_or("nats", |(scheme, _)| scheme);
    let mut addresses = Vec::new();
    let mut shown = Vec::new();
    for part in url.split(',').map(str::trim) {
        let full = if part.contains("://") {
            part.to_owned()
        } else {
            format!("{scheme}://{part}")
        };
        let address: ServerAddr = full.parse().map_err(|error| StateError::Setting {
            attempted: "reading the address of the state".to_owned(),
            reason: format!("{error}; write nats://host:port, several separated by commas"),
        })?;
        shown.push(format!("{}:{}", address.host(), address.port()));
        addresses.push(address);
    }
    Ok((addresses, format!("{scheme}://{}", shown.join(","))))
}

/// User and password, or a token, as the first address that has some says it: the client leaves them
/// to us.
fn login(addresses: &[ServerAddr]) -> Option<(String, Option<String>)> {
    let address = addresses.iter().find(|address| address.has_user_pass())?;
    let user = percent_decoded(address.username()?);
    Some((user, address.password().map(percent_decoded)))
}

/// What stands in a URL as `%40` is a `@`.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten();
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn not_connected(attempted: String, error: &async_nats::ConnectError) -> StateError {
    let reason = chain(error);
    match error.kind() {
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation => StateError::Refused {
            attempted,
            reason: format!("{reason}; check the address, the credentials and the certificates"),
        },
        _ => StateError::Unavailable { attempted, reason },
    }
}

/// An error with what it comes from, where that is not said yet.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_shown_without_their_passwords() {
        let (addresses, shown) = addresses("tls://a:b@one.example:4443,two.example").unwrap();
        assert!(addresses.iter().all(ServerAddr::tls_required));
        assert_eq!(
            login(&addresses),
            Some(("a".to_owned(), Some("b".to_owned())))
        );
        assert_eq!(shown, "tls://one.example:4443,two.example:4222");
        assert!(super::addresses("nats://:").is_err());
    }

    #[test]
    fn a_password_may_hold_what_a_url_may_not() {
        let login_of = |url: &str| login(&addresses(url).unwrap().0);
        let login = login_of("nats://one.example,a%40b:p%3a%25%2F@two.example");
        assert_eq!(login, Some(("a@b".to_owned(), Some("p:%/".to_owned()))));
        assert_eq!(
            login_of("nats://secret@one.example"),
            Some(("secret".to_owned(), None))
        );
        assert_eq!(login_of("nats://one.example"), None);
    }

    #[test]
    fn delays_grow_to_their_limit() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempts in 2..100 {
            let delay = reconnect_delay(attempts);
            assert!(
                delay >= Duration::from_millis(8) && delay <= DELAY_MAX,
                "{delay:?}"
            );
        }
        assert!(reconnect_delay(100) >= DELAY_MAX / 2);
    }
}
