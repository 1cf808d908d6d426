//! A large body passes both ways without being held; alone in its process, whose
//! memory is measured.

#![allow(
    clippy::unwrap_used,
    reason = "clippy sees a test only in a function marked as one"
)]

use std::hash::{DefaultHasher, Hasher};
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use turlough_gateway::{FunctionName, FunctionSpec, Gateway, GatewayConfig};

const BODY_BYTES: usize = 50 << 20;
const PART_BYTES: usize = 64 << 10;

/// Buffers of four sockets' both ends and of two HTTP codecs; far below the body.
const GROWTH_BYTES_MAX: usize = 12 << 20;

fn resident_bytes_max() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib << 10
}

async fn skip_head(stream: &mut TcpStream) {
    let mut last = [0; 4];
    while last != *b"\r\n\r\n" {
        last.rotate_left(1);
        last[3] = stream.read_u8().await.unwrap();
    }
}

/// A function that sends back what it gets.
async fn echo(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    skip_head(&mut stream).await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await.unwrap();
}

#[tokio::test]
async fn fifty_megabytes_pass_both_ways_unchanged_and_are_not_held() {
    let config = GatewayConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        metrics_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ..GatewayConfig::default()
    };
    let gateway = Gateway::bind(config).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let spec = FunctionSpec::new(FunctionName::parse("it").unwrap());
    gateway.registry().add_static(spec, &address).unwrap();
    let function = tokio::spawn(echo(listener));
    let before = resident_bytes_max();

    let stream = TcpStream::connect(gateway.local_addr()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let sender = tokio::spawn(async move {
        let head = format!(
            "POST /function/it HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        );
        to.write_all(head.as_bytes()).await.unwrap();
        let mut sent = DefaultHasher::new();
        for number in 0..BODY_BYTES / PART_BYTES {
            let part = vec![(number % 251) as u8; PART_BYTES];
            sent.write(&part);
            to.write_all(&part).await.unwrap();
        }
        (sent.finish(), to)
    });
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.unwrap());
    }
    let mut received = DefaultHasher::new();
    let mut part = vec![0; PART_BYTES];
    for _ in 0..BODY_BYTES / PART_BYTES {
        from.read_exact(&mut part).await.unwrap();
        received.write(&part);
    }
    let (sent, _to) = sender.await.unwrap();
    assert_eq!(received.finish(), sent);
    let grown = resident_bytes_max() - before;
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    drop(gateway);
    function.abort();
}
