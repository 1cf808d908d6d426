//! Replicas as processes, and what they need.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use turlough_keeper::{Keeper, Options as KeeperOptions};
use turlough_sdk::ReplicaId;
use turlough_statestore::{Options, State, StateUrl};
use turlough_testing::Nats;
use uuid::Uuid;

use crate::functions;

/// Short, so that a test need not wait for long until a replica counts as dead.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);

/// A variable of the environment, and its value.
pub(crate) type Setting = (&'static str, String);

pub(crate) struct Cluster {
    nats: Nats,
    pub(crate) state: State,
    _keeper: Keeper,
    pub(crate) replicas: Vec<Replica>,
    http: reqwest::Client,
    gateway_url: String,
    flows: tempfile::TempDir,
}

/// A replica that does not outlive its test.
pub(crate) struct Replica {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Cluster {
    pub(crate) async fn start(flows: &[(&str, &str)], replicas: usize) -> Self {
        Self::start_with(flows, &vec![Vec::new(); replicas]).await
    }

    /// The same, with settings of each replica's own.
    pub(crate) async fn start_with(flows: &[(&str, &str)], replicas: &[Vec<Setting>]) -> Self {
        let nats = Nats::start("").await;
        let gateway_url = functions::serve().await;
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in flows {
            let file = folder.path().join(format!("{name}.yaml"));
            std::fs::write(file, text).unwrap();
        }
        let state = open(&nats.url()).await;
        let keeper = keeper(&state).await;
        let mut cluster = Self {
            nats,
            state,
            _keeper: keeper,
            replicas: Vec::new(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            gateway_url,
            flows: folder,
        };
        for settings in replicas {
            let replica = cluster.replica_with(settings).await;
            cluster.replicas.push(replica);
        }
        cluster
    }

    /// One more replica, which takes requests already.
    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(&[]).await
    }

    /// The same, with settings of its own.
    pub(crate) async fn replica_with(&self, settings: &[Setting]) -> Replica {
        let (nats, gateway) = (self.nats.url(), self.gateway_url.clone());
        let (flows, settings) = (self.flows.path().to_owned(), settings.to_vec());
        let starting =
            tokio::task::spawn_blocking(move || start(&nats, &gateway, &flows, settings));
        let replica = starting.await.unwrap();
        let ready = format!("{}/_/ready", replica.url);
        for _ in 0..2_000 {
            let answer = self.http.get(&ready).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return replica;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("replica was not ready within 20 s");
    }

    /// Has some replica accept a request, whichever can; its id.
    pub(crate) async fn begin(&self, flow: &str, body: &str, key: &str, first: usize) -> String {
        for turn in 0..2_000 {
            let replica = &self.replicas[(first + turn) % self.replicas.len()];
            let call = self.http.post(format!("{}/{flow}", replica.url));
            let call = call
                .header("prefer", "respond-async")
                .header("idempotency-key", key)
                .timeout(Duration::from_secs(10))
                .body(body.to_owned());
            if let Ok(answer) = call.send().await
                && answer.status() == 202
            {
                let id = &answer.headers()["x-turlough-request-id"];
                return id.to_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no replica took {flow} {key}");
    }

    /// Has one replica accept a request; its id.
    pub(crate) async fn begin_at(&self, replica: usize, flow: &str, body: &str) -> String {
        let call = self
            .http
            .post(format!("{}/{flow}", self.replicas[replica].url));
        let call = call.header("prefer", "respond-async").body(body.to_owned());
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let id = &answer.headers()["x-turlough-request-id"];
        id.to_str().unwrap().to_owned()
    }

    /// Has one replica run a request, and waits; its id and what it gave.
    pub(crate) async fn call_at(&self, replica: usize, flow: &str, body: &str) -> (String, Json) {
        let call = self
            .http
            .post(format!("{}/{flow}", self.replicas[replica].url));
        let answer = call.body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["x-turlough-request-id"].to_str().unwrap();
        (id.to_owned(), answer.json().await.unwrap())
    }

    /// Puts a flow into one replica.
    pub(crate) async fn put(&self, replica: usize, flow: &str, text: &str) {
        let url = format!("{}/flows/{flow}", self.replicas[replica].url);
        taken(self.http.put(url).body(text.to_owned())).await;
    }

    /// What one replica says of a path.
    pub(crate) async fn get_at(&self, replica: usize, path: &str) -> Json {
        let url = format!("{}{path}", self.replicas[replica].url);
        taken(self.http.get(url)).await.json().await.unwrap()
    }

    pub(crate) async fn signal_request(&self, id: &str, name: &str, body: &str) {
        let url = format!("{}/requests/{id}/signals/{name}", self.replicas[0].url);
        taken(self.http.post(url).body(body.to_owned())).await;
    }

    /// What a replica says of a path, where one answers.
    pub(crate) async fn get(&self, path: &str) -> Option<Json> {
        for replica in &self.replicas {
            let call = self.http.get(format!("{}{path}", replica.url));
            if let Ok(answer) = call.timeout(Duration::from_secs(10)).send().await
                && let Ok(json) = answer.json().await
            {
                return Some(json);
            }
        }
        None
    }

    /// A request, once it is settled.
    pub(crate) async fn settled(&self, id: &str) -> Json {
        let path = format!("/requests/{id}");
        let mut last = None;
        for _ in 0..1_200 {
            if let Some(view) = self.get(&path).await {
                if view["settled"] == true {
                    return view;
                }
                last = Some(view);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("request {id} was not settled within a minute: {last:?}");
    }

    pub(crate) async fn result(&self, id: &str) -> Json {
        self.get(&format!("/requests/{id}/result")).await.unwrap()
    }

    /// Signals a replica and gives it up: `KILL`, `TERM`.
    pub(crate) fn signal(&self, replica: usize, signal: &str) {
        let id = self.replicas[replica].child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
    }
}

/// The answer to a call that must succeed.
async fn taken(call: reqwest::RequestBuilder) -> reqwest::Response {
    let answer = call.send().await.unwrap();
    let status = answer.status();
    if status.is_success() {
        return answer;
    }
    panic!("{status}: {}", answer.text().await.unwrap());
}

async fn open(url: &str) -> State {
    let url: StateUrl = url.parse().unwrap();
    let options = Options {
        heartbeat: HEARTBEAT,
        ..Options::new("default".parse().unwrap(), "keeper".parse().unwrap())
    };
    State::open(&url, &options).await.unwrap()
}

pub(crate) async fn keeper(state: &State) -> Keeper {
    let replica = ReplicaId::from_uuid(Uuid::new_v4());
    let options = KeeperOptions {
        heartbeat: HEARTBEAT,
        silent: Duration::from_secs(3),
        grace: Duration::from_millis(500),
        repeat: Duration::from_secs(2),
        ..KeeperOptions::new(replica, "default".parse().unwrap())
    };
    Keeper::start(state.clone(), options).await.unwrap()
}

fn start(nats: &str, gateway: &str, flows: &Path, settings: Vec<Setting>) -> Replica {
    let mut child = Command::new(env!("CARGO_BIN_EXE_turlough-flow-function"))
        .env_clear()
        .env("NO_COLOR", "1")
        .env("TURLOUGH_LISTEN", "127.0.0.1")
        .env("TURLOUGH_SECRETS", flows.join("none"))
        .env("TURLOUGH_STATE", nats)
        .env("TURLOUGH_HEARTBEAT", "2s")
        .env("TURLOUGH_KEEP_FAILED", "0s")
        .env("TURLOUGH_GATEWAY_URL", gateway)
        .env("port", "0")
        .envs(settings)
        .arg("--flows")
        .arg(flows)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("address=") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended at once");
    }
    let address = line.split("address=").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap();
    let url = format!("http://{address}");
    // Its log is read on, so that it never waits for a reader.
    std::thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
    Replica { child, url }
}
