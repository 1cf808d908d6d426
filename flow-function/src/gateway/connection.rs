//! One connection to the gateway, on which one call is made at a time.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::signal::Signal;

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer whose machine is gone is noticed within a minute, also while a function works.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 3;
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    requests: SendRequest<Full<Bytes>>,
    /// Reads and writes, when polled; none once it is over.
    work: Option<Box<http1::Connection<TokioIo<Socket>, Full<Bytes>>>>,
    signal: Arc<Signal>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Nothing of the request was sent.
    Kept {
        request: Box<Request<Full<Bytes>>>,
        error: hyper::Error,
    },
    /// It may have been.
    Lost(hyper::Error),
}

impl Connection {
    /// Connects to a name or an address.
    pub(super) async fn open(host: &str, port: u16) -> io::Result<Self> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(host, port)).await;
        let stream = connected.unwrap_or_else(|_| Err(too_slow()))?;
        let socket = Socket(Arc::new(Mutex::new(stream)));
        let made = http1::handshake(TokioIo::new(socket.clone())).await;
        let (requests, work) = made.map_err(io::Error::other)?;
        Ok(Self {
            socket,
            requests,
            work: Some(Box::new(work)),
            signal: Arc::default(),
        })
    }

    /// Sends a request. It ends with the head of the answer.
    pub(super) async fn send(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Self, Response<Incoming>), Unsent> {
        let mut answer = pin!(self.requests.try_send_request(request));
        match poll_fn(|cx| self.poll(cx, |cx| answer.as_mut().poll(cx))).await {
            Ok(answer) => Ok((self, answer)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Unsent::Kept {
                    request: Box::new(request),
                    error: error.into_error(),
                },
                None => Unsent::Lost(error.into_error()),
            }),
        }
    }

    /// Reads and writes what there is, until somebody finds in it what he waits for.
    pub(super) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        mut found: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { work, signal, .. } = self;
        signal.poll(cx, |cx| {
            let polled = found(cx);
            if polled.is_pending()
                && let Some(working) = work
                && Pin::new(working).poll(cx).is_ready()
            {
                *work = None;
                cx.waker().wake_by_ref();
            }
            polled
        })
    }

    /// Nobody waits for anything on it.
    pub(super) fn rest(&self) {
        self.signal.rest();
    }

    /// Whether the next request can be sent on it, as far as is known.
    pub(super) fn is_ready(&self) -> bool {
        self.work.is_some() && self.requests.is_ready()
    }

    /// Whether its peer has not closed it meanwhile. The system is asked: the runtime may not know yet.
    pub(super) fn is_quiet(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = rustix::net::recv(&*self.socket.lock(), &mut [0_u8], flags);
        looked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name stands for no address");
    for address in &addresses {
        // One that does not answer leaves the others their time.
        let share = CONNECT_TIMEOUT / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let connected = tokio::time::timeout(share, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(too_slow())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                sockopt::set_socket_keepalive(&stream, true)?;
                sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
                sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE)?;
                sockopt::set_tcp_keepcnt(&stream, KEEP_ALIVE_PROBES)?;
                let within_ms = ACKNOWLEDGED_WITHIN.as_millis() as u32;
                sockopt::set_tcp_user_timeout(&stream, within_ms)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn too_slow() -> io::Error {
    let text = format!("none within {CONNECT_TIMEOUT:?}");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// A socket that can be looked at beside the protocol that has it.
#[derive(Debug, Clone)]
struct Socket(Arc<Mutex<TcpStream>>);

impl Socket {
    fn lock(&self) -> MutexGuard<'_, TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
