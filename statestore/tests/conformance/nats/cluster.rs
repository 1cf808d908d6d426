//! Three servers that replicate.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use turlough_sdk::RequestId;
use turlough_statestore::{Follow, Options, Seq, State, StateError};

use super::process::Process;
use crate::server::{append, options, request, until};

/// A cluster of three; its servers find one another by ports that were free a moment ago.
async fn cluster() -> Vec<Process> {
    let free: Vec<_> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports: Vec<_> = free
        .iter()
        .map(|port| port.local_addr().unwrap().port())
        .collect();
    drop(free);
    let routes: Vec<_> = ports
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let mut servers = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let listen = format!("listen: \"127.0.0.1:{port}\"");
        let cluster = format!(
            "cluster {{ name: c, {listen}, routes: [{}] }}",
            routes.join(", ")
        );
        servers.push(Process::start(&format!("server_name: n{number}\n{cluster}")).await);
    }
    servers
}

fn replicated() -> Options {
    Options {
        replicas: 3,
        ..options()
    }
}

/// A state whose client knows all servers, once these have found one another.
async fn open(servers: &[Process]) -> State {
    let urls: Vec<_> = servers.iter().map(Process::url).collect();
    let url = urls.join(",").parse().unwrap();
    until("the cluster is ready", async || {
        State::open(&url, &replicated()).await.ok()
    })
    .await
}

/// Appends as a driver does: what nobody answered is looked for before it is sent again.
async fn append_surely(state: &State, request: RequestId, after: Seq, id: u128) -> Seq {
    until("an append is stored", async || {
        match state.log.append(request, after, &append(id)).await {
            Ok(seq) => return Some(seq),
            Err(StateError::Conflict { .. }) => {}
            Err(error) => assert!(error.passes(), "{error}"),
        }
        let last = state.log.last(request).await.ok()??;
        (last.append.envelope.id.0 == id).then_some(last.seq)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_servers_are_killed_one_after_another() {
    let mut servers = cluster().await;
    let state = open(&servers).await;
    let one = request();
    let mut last = Seq::START;
    let mut next = 0_u128;
    for server in &mut servers {
        for id in next..next + 20 {
            last = append_surely(&state, one, last, id).await;
            // Whichever server answers, it has what was just stored.
            let read = state.log.read(one, Seq::START).await;
            if let Ok(read) = read {
                assert_eq!(read.last().unwrap().seq, last);
            }
        }
        next += 20;
        server.kill();
        last = append_surely(&state, one, last, next).await;
        next += 1;
        server.start_again().await;
    }
    let records = until("the log is read", async || {
        state.log.read(one, Seq::START).await.ok()
    })
    .await;
    let ids: Vec<_> = records
        .iter()
        .map(|record| record.append.envelope.id.0)
        .collect();
    assert_eq!(ids, (0..next).collect::<Vec<_>>());
    let mut follow = until("the logs are followed", async || {
        state.log.follow(Seq::START).await.ok()
    })
    .await;
    assert_eq!(followed(&mut follow, records.len()).await, ids);
    until("a heartbeat is written", async || {
        state.replicas.put("a", Bytes::from("b")).await.ok()
    })
    .await;
    assert_eq!(state.replicas.get("a").await.unwrap().unwrap(), "b");
}

async fn followed(follow: &mut Box<dyn Follow>, count: usize) -> Vec<u128> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), follow.next(50)).await;
        let next = next
            .expect("a follower hears of an append within 30 s")
            .unwrap();
        ids.extend(
            next.iter()
                .map(|met| met.append.as_ref().unwrap().envelope.id.0),
        );
    }
    ids
}
