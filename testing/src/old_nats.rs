//! What a nats-server of an old version says when one connects to it; it does nothing else.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An old nats-server of a test.
#[derive(Debug)]
pub struct OldNats {
    port: u16,
    serving: JoinHandle<()>,
}

impl OldNats {
    /// One of this version.
    pub async fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let info = format!(
            "INFO {{\"server_id\":\"OLD\",\"server_name\":\"old\",\"version\":\"{version}\",\"proto\":1,\
             \"go\":\"go1.19\",\"host\":\"127.0.0.1\",\"port\":{port},\"headers\":true,\
             \"max_payload\":1048576,\"jetstream\":true,\"client_id\":1}}\r\n"
        );
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, info.clone()));
            }
        });
        Self { port, serving }
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Ends it; the port is free then.
    pub async fn stop(self) {
        self.serving.abort();
        drop(self.serving.await);
    }
}

async fn answer(mut stream: TcpStream, info: String) {
    let (reader, mut writer) = stream.split();
    let mut said = writer.write_all(info.as_bytes()).await;
    let mut lines = BufReader::new(reader).lines();
    while said.is_ok()
        && let Ok(Some(line)) = lines.next_line().await
    {
        if line.starts_with("PING") {
            said = writer.write_all(b"PONG\r\n").await;
        }
    }
}
