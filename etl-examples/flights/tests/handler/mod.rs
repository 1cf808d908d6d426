//! The clean-weather function as a real process, and the least of an HTTP client to talk to it.

#![allow(dead_code, reason = "each test and example uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How long a start or a stop may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running handler; killed when dropped.
pub(crate) struct Handler {
    process: Child,
    port: u16,
}

impl Handler {
    /// Starts the handler on a free port and waits until it is healthy.
    pub(crate) fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clean-weather/handler.py");
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("python3")
            .arg(script)
            .env("port", port.to_string())
            .spawn()
            .unwrap();
        let handler = Self { process, port };
        let start = Instant::now();
        while !handler.is_healthy() {
            assert!(
                start.elapsed() < PATIENCE,
                "the handler did not become healthy"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        handler
    }

    /// A connection that is kept alive from request to request.
    pub(crate) fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the handler did not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_healthy(&self) -> bool {
        let Ok(connection) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        exchange(
            &mut BufReader::new(connection),
            b"GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .0 == 200
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Posts a body; status and body of the answer.
pub(crate) fn post(connection: &mut BufReader<TcpStream>, body: &[u8]) -> (u16, Vec<u8>) {
    let mut request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    exchange(connection, &request)
}

/// Sends the bytes of a request; status and body of the answer.
pub(crate) fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> (u16, Vec<u8>) {
    connection.get_mut().write_all(request).unwrap();
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    (status, body)
}
