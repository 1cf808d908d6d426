//! Bodies pass as they come: each side is seen to get one part before the other sends the next.

use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::harness::*;

#[tokio::test]
async fn body_without_end_is_passed_part_by_part_in_both_directions() {
    let gateway = TestGateway::start().await;
    let address = function(|mut stream| async move {
        let head = read_until(&mut stream, "part 0").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
        for number in 0..100 {
            if number > 0 {
                read_until(&mut stream, &format!("part {number}")).await;
            }
            let seen = format!("seen {number:3}");
            write(&mut stream, &format!("8\r\n{seen}\r\n")).await;
        }
        write(&mut stream, "0\r\n\r\n").await;
    });
    gateway.function("it", address.await);
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    write(
        &mut caller,
        "POST /function/it HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    .await;
    for number in 0..100 {
        let part = format!("part {number}");
        write(&mut caller, &format!("{:x}\r\n{part}\r\n", part.len())).await;
        read_until(&mut caller, &format!("seen {number:3}")).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn server_sent_events_pass_live_and_end_when_the_reader_leaves() {
    let gateway = TestGateway::start().await;
    let (go, going) = tokio::sync::watch::channel(0);
    let (left, mut was_left) = mpsc::channel(1);
    let address = function(move |mut stream| {
        let (mut going, left) = (going.clone(), left.clone());
        async move {
            read_head(&mut stream).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            write(&mut stream, head).await;
            for number in 1..=3 {
                going.wait_for(|&go| go >= number).await.unwrap();
                write(&mut stream, &format!("data: {number}\n\n")).await;
            }
            let mut byte = [0];
            let closed = tokio::io::AsyncReadExt::read(&mut stream, &mut byte).await;
            assert_eq!(closed.unwrap_or(0), 0);
            left.send(()).await.unwrap();
        }
    });
    gateway.function("it", address.await);
    let request = Request::get("/function/it").header("Accept", "text/event-stream");
    let request = request.body(Full::default()).unwrap();
    let mut response = within(send(gateway.address, request)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for number in 1..=3 {
        go.send(number).unwrap();
        let frame = within(response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {number}\n\n"));
    }
    drop(response);
    within(was_left.recv()).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn body_that_breaks_off_breaks_off_for_the_caller() {
    let gateway = TestGateway::start().await;
    let address = function(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        )
        .await;
    });
    gateway.function("it", address.await);
    let request = Request::get("/function/it").body(Full::default()).unwrap();
    let response = send(gateway.address, request).await;
    assert!(within(response.collect()).await.is_err());
    gateway.stop().await;
}
