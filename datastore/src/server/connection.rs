//! A connection: bytes in, commands one after the other, replies out.
//!
//! Invariants: replies go out in the order of their commands; what is not written yet is bounded, for each
//! connection and for all together, and past that nothing more is read; nobody has the worker for longer
//! than a slice.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::clock::now_ms;
use super::commands::{self, Next};
use super::fault::Fault;
use super::guesses::Origin;
use super::session::{Place, Session, Shared};
use super::wait::Wait;
use crate::blob::Buffer;
use crate::store::{InFlight, Reserved};
use crate::wire::{Body, Outbox, Parsed, Parser};

/// What is read at once of small commands.
const READ_BYTES: usize = 32 << 10;
/// What one connection may move before others have their turn.
const TURN_BYTES: usize = 256 << 10;
/// Replies that may wait to be written; nothing more is read past it.
const UNWRITTEN_MAX: usize = 32 << 20;
/// What one connection may hold of replies, and of a command that is not there yet, where all together hold
/// too much.
const PRESSED_MAX: usize = 64 << 10;
/// What may be read ahead of a command that waits.
const AHEAD_MAX: usize = 64 << 10;
/// A buffer that is kept while nothing comes.
const KEPT_BYTES: usize = 4 << 10;

thread_local! {
    /// What was just read, on the way to the connection that it is for.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What comes next on the wire.
#[derive(Debug)]
enum Incoming {
    /// A command, or a part of one.
    Command,
    /// So many bytes of a large argument, and where they go.
    Body {
        buffer: Buffer,
        reserved: Reserved,
        flight: InFlight,
    },
    /// So many bytes of one that was refused.
    Skip(usize),
    /// The end of a large argument.
    End,
}

#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    shared: Arc<Shared>,
    _place: Place,
    session: Session,
    inbox: BytesMut,
    parser: Parser,
    incoming: Incoming,
    /// Why the command that is being read is not carried out.
    refused: Option<Fault>,
    out: Outbox,
    /// Whether all that was written has left: TLS may hold some of it back.
    is_flushed: bool,
    waits: Option<Wait>,
    is_closing: bool,
    commands: u64,
    /// What it was counted with of what all hold.
    buffered: u64,
    moved_ms: u64,
    /// Since when it is nobody.
    stranger_ms: Option<u64>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, place: Place, origin: Origin) -> Self {
        let (shared, now_ms) = (Arc::clone(place.shared()), now_ms());
        Self {
            stream,
            session: Session::new(&shared, origin, now_ms),
            shared,
            _place: place,
            inbox: BytesMut::new(),
            parser: Parser::default(),
            incoming: Incoming::Command,
            refused: None,
            out: Outbox::default(),
            is_flushed: true,
            waits: None,
            is_closing: false,
            commands: 0,
            buffered: 0,
            moved_ms: now_ms,
            stranger_ms: None,
            stalled: None,
        }
    }

    /// Carries out what has come, as long as replies may be put; whether anything was.
    fn carry_out(&mut self, now_ms: u64) -> bool {
        let (mut did, most) = (false, self.unwritten_max());
        while !self.is_closing && self.waits.is_none() && self.out.bytes() < most {
            let went_on = match &mut self.incoming {
                Incoming::Command => self.command(now_ms),
                Incoming::Body { .. } | Incoming::Skip(_) => self.body(),
                Incoming::End => match self.parser.end_of_large(&self.inbox) {
                    Ok(true) => {
                        self.incoming = Incoming::Command;
                        true
                    }
                    Ok(false) => false,
                    Err(error) => self.lose(&error.to_string()),
                },
            };
            if !went_on {
                break;
            }
            did = true;
        }
        did
    }

    /// Replies that may wait to be written.
    fn unwritten_max(&self) -> usize {
        match self.shared.is_pressed() {
            true => PRESSED_MAX,
            false => UNWRITTEN_MAX,
        }
    }

    fn command(&mut self, now_ms: u64) -> bool {
        self.parser.set_of_stranger(!self.session.is_somebody());
        match self.parser.parse(&self.inbox) {
            Ok(Parsed::Partial) if self.inbox.len() > PRESSED_MAX && self.shared.is_pressed() => {
                self.lose("all connections hold too much of commands and replies, and this one the part of a large command; send smaller ones, or raise TURLOUGH_STORE_BUFFERS_BYTES_MAX")
            }
            Ok(Parsed::Partial) => false,
            Ok(Parsed::Large(bytes)) => {
                self.admit(bytes);
                true
            }
            Ok(Parsed::Command) => {
                let args = self.parser.args(&self.inbox);
                let refused = self.refused.take();
                let mut call = commands::Call {
                    shared: &self.shared,
                    session: &mut self.session,
                    out: &mut self.out,
                    now_ms,
                };
                match call.answer(args, refused) {
                    Next::Done => {}
                    Next::Close => self.is_closing = true,
                    Next::Wait(wait) => self.waits = Some(wait),
                    Next::Again(job) => {
                        // The command stays where it is.
                        self.waits = Some(Wait::Again(job));
                        return true;
                    }
                }
                self.commands += 1;
                let taken = self.parser.finish();
                self.inbox.advance(taken);
                true
            }
            Err(error) => self.lose(&error.to_string()),
        }
    }

    /// The protocol is lost: what comes next cannot be told.
    fn lose(&mut self, why: &str) -> bool {
        self.out.error(&format!("ERR {why}"));
        self.is_closing = true;
        true
    }

    /// Decides where a large argument goes, before it is read.
    fn admit(&mut self, bytes: usize) {
        let args = self.parser.args(&self.inbox);
        let admitted = commands::admit(&self.shared, &self.session, &args, bytes);
        self.incoming = match admitted {
            Ok((reserved, flight)) if self.refused.is_none() => Incoming::Body {
                buffer: Buffer::new(self.shared.store.pool(), bytes),
                reserved,
                flight,
            },
            Ok(_) => Incoming::Skip(bytes),
            Err(fault) => {
                self.refused.get_or_insert(fault);
                Incoming::Skip(bytes)
            }
        };
    }

    /// Takes what has come of a large argument; whether that was all.
    fn body(&mut self) -> bool {
        let place = self.parser.place();
        let here = &self.inbox[place..];
        let (taken, is_all) = match &mut self.incoming {
            Incoming::Body { buffer, .. } => match buffer.fill(here) {
                Ok(taken) => (taken, buffer.missing() == 0),
                Err(error) => {
                    tracing::error!(%error, "value cannot be received");
                    let missing = buffer.missing();
                    self.refused = Some(Fault::new(format!("OOM {error}")));
                    self.incoming = Incoming::Skip(missing);
                    return true;
                }
            },
            Incoming::Skip(left) => {
                let taken = here.len().min(*left);
                *left -= taken;
                (taken, *left == 0)
            }
            Incoming::Command | Incoming::End => return false,
        };
        if taken > 0 {
            let rest = self.inbox.split_off(place + taken);
            self.inbox.truncate(place);
            self.inbox.extend_from_slice(&rest);
        }
        if is_all {
            let body = match std::mem::replace(&mut self.incoming, Incoming::End) {
                Incoming::Body {
                    buffer,
                    reserved,
                    flight,
                } => Body::Held {
                    blob: buffer.finish(),
                    reserved,
                    flight,
                },
                _ => Body::Skipped,
            };
            self.parser.took(body);
        }
        is_all
    }

    /// Whether the client owes something, or is owed.
    fn is_busy(&self) -> bool {
        let is_within = self.parser.is_within() || !self.inbox.is_empty();
        let is_owed = self.out.bytes() > 0 || !self.is_flushed;
        is_within && self.waits.is_none() || is_owed || !self.session.is_somebody()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Serves until the client goes, or is told to.
    pub(crate) async fn serve(mut self) {
        let served = std::future::poll_fn(|cx| self.poll(cx)).await;
        if let Err(error) = served {
            tracing::debug!(%error, id = self.session.id, "connection ended");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = TURN_BYTES;
        let polled = loop {
            let now_ms = now_ms();
            let mut did = self.poll_wait(cx, now_ms) | self.carry_out(now_ms);
            match self.poll_write(cx) {
                Poll::Ready(Ok(0)) | Poll::Pending => {}
                Poll::Ready(Ok(written)) => {
                    did = true;
                    left = left.saturating_sub(written);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
            }
            if let Err(error) = self.flush(cx) {
                break Poll::Ready(Err(error));
            }
            if self.is_closing && self.out.bytes() == 0 {
                break Pin::new(&mut self.stream).poll_shutdown(cx);
            }
            match self.poll_read(cx, left) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Ok(())),
                Poll::Ready(Ok(read)) => {
                    did = true;
                    left = left.saturating_sub(read);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            if did {
                self.moved_ms = now_ms;
            }
            if left == 0 {
                cx.waker().wake_by_ref();
                break Poll::Pending;
            }
            if !did {
                break self.poll_stalled(cx, now_ms);
            }
        };
        self.count_buffered();
        let commands = std::mem::take(&mut self.commands);
        if commands > 0 {
            let all = &self.shared.counts.commands;
            all.fetch_add(commands, Ordering::Relaxed);
        }
        if self.inbox.is_empty() && self.inbox.capacity() > KEPT_BYTES {
            self.inbox = BytesMut::new();
        }
        polled
    }

    /// Counts what it holds now.
    fn count_buffered(&mut self) {
        let buffered = (self.inbox.capacity() + self.out.copied()) as u64;
        let before = std::mem::replace(&mut self.buffered, buffered);
        if buffered != before {
            let more = buffered.wrapping_sub(before);
            let all = &self.shared.counts.buffered;
            all.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Ends a wait whose time has come; whether it did.
    fn poll_wait(&mut self, cx: &mut Context<'_>, now_ms: u64) -> bool {
        let Some(wait) = &mut self.waits else {
            return false;
        };
        let Poll::Ready(done) = wait.poll(cx, &self.session, &mut self.out, now_ms) else {
            return false;
        };
        self.waits = None;
        self.refused = done.err();
        true
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.out.bytes() == 0 {
            return Poll::Ready(Ok(0));
        }
        let stream = Pin::new(&mut self.stream);
        let written = match self.out.only() {
            Some(bytes) => ready!(stream.poll_write(cx, bytes))?,
            None => ready!(stream.poll_write_vectored(cx, &self.out.slices()))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.out.advance(written);
        self.is_flushed = false;
        Poll::Ready(Ok(written))
    }

    /// Has what was written leave, as far as the client takes it.
    fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_flushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.is_flushed = true;
        }
        Ok(())
    }

    /// Reads into the value that is being received, or what comes of the next command.
    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let is_full = self.out.bytes() >= self.unwritten_max()
            || self.waits.is_some() && self.inbox.len() >= AHEAD_MAX;
        if self.is_closing || is_full || most == 0 {
            return Poll::Pending;
        }
        let stream = Pin::new(&mut self.stream);
        if let Incoming::Body { buffer, .. } = &mut self.incoming
            && self.inbox.len() == self.parser.place()
        {
            let slot = buffer.slot().map_err(io::Error::other)?;
            let len = slot.len().min(most);
            let mut slot = ReadBuf::new(&mut slot[..len]);
            ready!(stream.poll_read(cx, &mut slot))?;
            let read = slot.filled().len();
            buffer.filled(read);
            return Poll::Ready(Ok(read));
        }
        READ.with_borrow_mut(|bytes| {
            let mut all = ReadBuf::new(bytes);
            ready!(stream.poll_read(cx, &mut all))?;
            self.inbox.extend_from_slice(all.filled());
            Poll::Ready(Ok(all.filled().len()))
        })
    }

    /// Nothing moves: who owes something, or does not take what it is owed, has its time.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, now_ms: u64) -> Poll<io::Result<()>> {
        if self.session.is_somebody() {
            self.stranger_ms = None;
        }
        if !self.is_busy() {
            return Poll::Pending;
        }
        let limit = self.shared.stalled;
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        // Who has not said who it is has that time for it, whatever else it says.
        let since_ms = match self.session.is_somebody() {
            true => self.moved_ms,
            false => *self.stranger_ms.get_or_insert(now_ms),
        };
        loop {
            let stalled = self
                .stalled
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(stalled.as_mut().poll(cx));
            let still_ms = now_ms.saturating_sub(since_ms);
            if still_ms >= limit_ms {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let rest = Duration::from_millis(limit_ms - still_ms);
            self.stalled = Some(Box::pin(tokio::time::sleep(rest)));
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        let all = &self.shared.counts.buffered;
        all.fetch_sub(self.buffered, Ordering::Relaxed);
        if let Some(wait) = &self.waits {
            wait.give_up(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, duplex};

    use super::super::alone::Alone;
    use crate::store::{Bounds, Quota};

    #[tokio::test]
    async fn a_stream_that_holds_back_what_is_written_is_flushed() {
        let alone = Alone::new(Bounds {
            bytes_max: 1_000,
            lease_ms: 1_000,
            quota: Quota::of(1_000),
        });
        let (mut client, server) = duplex(1_000);
        let served = tokio::spawn(alone.serve(BufWriter::new(server)));
        client.write_all(b"PING\r\n").await.unwrap();
        let mut said = [0; 7];
        let reading = client.read_exact(&mut said);
        let read = tokio::time::timeout(Duration::from_secs(20), reading);
        read.await.unwrap().unwrap();
        assert_eq!(&said, b"+PONG\r\n");
        drop(client);
        served.await.unwrap();
    }
}
