//! The platform under the campaign: a state server, a gateway with its functions and replicas, two
//! keepers; all of them processes, each started again as it was.

use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use turlough_statestore::{Options, State, StateError, StateUrl};
use turlough_testing::{Nats, Redis};

use super::flows::KINDS;
use super::processes::{Child, children};
use super::{counters, roles};

/// Short, so that what a dead replica held is soon driven on.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);
pub(crate) const REPLICAS: usize = 3;
pub(crate) const FUNCTIONS: usize = 2;
pub(crate) const TOKEN: &str = "of the campaign";

/// What the state lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    JetStream,
    Redis,
}

#[derive(Debug)]
pub(crate) enum Server {
    Nats(Nats),
    Redis(Redis),
}

impl Server {
    async fn start(backend: Backend) -> Self {
        match backend {
            Backend::JetStream => Self::Nats(Nats::start("").await),
            Backend::Redis => Self::Redis(Redis::start().await),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Nats(server) => server.url(),
            Self::Redis(server) => server.url(),
        }
    }

    pub(crate) fn id(&self) -> Option<u32> {
        match self {
            Self::Nats(server) => server.id(),
            Self::Redis(server) => server.id(),
        }
    }

    pub(crate) fn kill(&mut self) {
        match self {
            Self::Nats(server) => server.kill(),
            Self::Redis(server) => server.kill(),
        }
    }

    pub(crate) async fn start_again(&mut self) {
        match self {
            Self::Nats(server) => server.start_again().await,
            Self::Redis(server) => server.start_again().await,
        }
    }
}

/// A process that plays a role, and ends with the campaign.
#[derive(Debug)]
pub(crate) struct Role {
    name: String,
    environment: Vec<(String, String)>,
    logs: PathBuf,
    process: Process,
}

impl Role {
    fn start(name: &str, logs: PathBuf, environment: Vec<(String, String)>) -> Self {
        let process = spawn(name, &logs, &environment);
        Self {
            name: name.to_owned(),
            environment,
            logs,
            process,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Starts it once more where it ended by itself, as whoever runs it would.
    fn revive(&mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            println!(
                "{} ended by itself ({status}) and is started again",
                self.name
            );
            self.process = spawn(&self.name, &self.logs, &self.environment);
        }
    }

    /// Waits for its end, and starts it once more.
    pub(crate) async fn start_again(&mut self) {
        for _ in 0..3_000 {
            if self.process.try_wait().unwrap().is_some() {
                self.process = spawn(&self.name, &self.logs, &self.environment);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} did not end within 30 s", self.name);
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(name: &str, logs: &Path, environment: &[(String, String)]) -> Process {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(logs.join(format!("{name}.log")));
    Command::new(std::env::current_exe().unwrap())
        .args(roles::ARGUMENTS)
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}

#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) gateway_url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) state: State,
    pub(crate) server: Arc<Mutex<Server>>,
    pub(crate) gateway: Arc<Mutex<Role>>,
    pub(crate) keepers: [Arc<Mutex<Role>>; 2],
    keeper_urls: [String; 2],
}

impl Platform {
    /// All of it, on free ports, with its files in a folder; whole, when this returns.
    pub(crate) async fn start(backend: Backend, folder: &Path, planted: Option<&str>) -> Self {
        let logs = folder.join("logs");
        for folder in [&logs, &counters::calls(folder), &folder.join("flows")] {
            std::fs::create_dir(folder).unwrap();
        }
        let [gateway_port, first, second] = free_ports();
        let gateway_url = format!("http://127.0.0.1:{gateway_port}");
        write_files(folder, &gateway_url);
        let server = Server::start(backend).await;
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let with = |more: &[(&str, &str)]| {
            let common = [
                ("CAMPAIGN_FOLDER", text(folder)),
                ("TURLOUGH_STATE", server.url()),
                ("TURLOUGH_STATE_SYNC", "always".to_owned()),
            ];
            let more = more
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            let all = common.into_iter().chain(more);
            all.map(|(name, value)| (name.to_owned(), value)).collect()
        };
        let gateway = with(&[
            ("CAMPAIGN_ROLE", "gateway"),
            ("CAMPAIGN_PORT", &gateway_port.to_string()),
            ("TURLOUGH_SECRETS", &text(&folder.join("secrets"))),
            ("TURLOUGH_HEARTBEAT", "3s"),
            ("TURLOUGH_KEEP_FAILED", "0s"),
            ("TURLOUGH_DRAIN", "5s"),
            // Shorter than the gateway waits: who asks for an answer is told the id before.
            ("TURLOUGH_SYNC_WAIT", "5s"),
            ("TURLOUGH_HTTP_ALLOW", "127.0.0.1"),
            ("TURLOUGH_LISTEN", "127.0.0.1"),
            ("TURLOUGH_PLANTED", planted.unwrap_or("nothing")),
            ("NO_COLOR", "1"),
        ]);
        let keeper = |port: u16, index: &str| {
            with(&[
                ("CAMPAIGN_ROLE", "keeper"),
                ("CAMPAIGN_PORT", &port.to_string()),
                ("CAMPAIGN_INDEX", index),
                ("TURLOUGH_GATEWAY_URL", &gateway_url),
            ])
        };
        let role =
            |name, environment| Arc::new(Mutex::new(Role::start(name, logs.clone(), environment)));
        let platform = Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            state: open(&server.url()).await.unwrap(),
            gateway: role("gateway", gateway),
            keepers: [
                role("keeper-1", keeper(first, "keeper-1.db")),
                role("keeper-2", keeper(second, "keeper-2.db")),
            ],
            keeper_urls: [first, second].map(|port| format!("http://127.0.0.1:{port}")),
            server: Arc::new(Mutex::new(server)),
            gateway_url,
        };
        for _ in 0..600 {
            if platform.is_whole().await {
                return platform;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(logs.join("gateway.log"));
        panic!("it was not whole within a minute: {log:?}");
    }

    /// The processes of a function, the oldest first; none while the gateway is being replaced.
    pub(crate) fn processes(&self, function: &str) -> Vec<Child> {
        let Ok(gateway) = self.gateway.try_lock() else {
            return Vec::new();
        };
        let mut children = children(gateway.id());
        children.retain(|child| child.function.starts_with(function));
        children
    }

    pub(crate) fn keeper_url(&self, keeper: usize) -> &str {
        &self.keeper_urls[keeper]
    }

    /// Whether everything is there and answers.
    pub(crate) async fn is_whole(&self) -> bool {
        for role in self.keepers.iter().chain([&self.gateway]) {
            // Whoever is being harmed is started again after that.
            if let Ok(mut role) = role.try_lock() {
                role.revive();
            }
        }
        let (replicas, functions) = (self.processes("flows"), self.processes("work"));
        if replicas.len() < REPLICAS || functions.len() < FUNCTIONS {
            return false;
        }
        let own = |children: &[Child], path| {
            let url = |child: &Child| format!("http://127.0.0.1:{}{path}", child.port);
            children.iter().map(url).collect::<Vec<_>>()
        };
        let mut urls = own(&replicas, "/_/ready");
        urls.extend(own(&functions, "/_/health"));
        urls.push(format!("{}/function/work/_/health", self.gateway_url));
        urls.push(format!("{}/function/flows/_/ready", self.gateway_url));
        urls.extend(self.keeper_urls.iter().map(|url| format!("{url}/_/health")));
        let answers = urls.iter().map(|url| self.answers(url));
        let all = futures_util::future::join_all(answers).await;
        all.into_iter().all(|answers| answers) && self.state.link.borrow().is_up
    }

    async fn answers(&self, url: &str) -> bool {
        let call = self.http.get(url).timeout(Duration::from_secs(2));
        let answer = call.send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

pub(crate) async fn open(url: &str) -> Result<State, StateError> {
    let url: StateUrl = url.parse().unwrap();
    let options = Options {
        heartbeat: HEARTBEAT,
        sync: turlough_statestore::Sync::Always,
        ..Options::new("default".parse().unwrap(), "keeper".parse().unwrap())
    };
    State::open(&url, &options).await
}

fn write_files(folder: &Path, gateway_url: &str) {
    for kind in KINDS {
        let file = folder.join("flows").join(format!("{}.yaml", kind.name()));
        std::fs::write(file, kind.text(gateway_url)).unwrap();
    }
    let secrets = folder.join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("turlough-token"), TOKEN).unwrap();
    // One for all replicas: what one of them handed out, every one takes.
    std::fs::write(secrets.join("turlough-callback-key"), "0123456789abcdef").unwrap();
    let flows = format!(
        "{} --flows {}",
        env!("CARGO_BIN_EXE_turlough-flow-function"),
        folder.join("flows").display()
    );
    let this = std::env::current_exe().unwrap();
    let work = format!("{} {}", this.display(), roles::ARGUMENTS.join(" "));
    let stack = format!(
        "version: 1.0
provider: {{ name: openfaas }}
functions:
  flows:
    handler: .
    labels: {{ com.openfaas.scale.min: \"{REPLICAS}\" }}
    annotations: {{ turlough.process: \"{flows}\", com.openfaas.health.http.path: /_/ready }}
  work:
    handler: .
    labels: {{ com.openfaas.scale.min: \"{FUNCTIONS}\" }}
    annotations: {{ turlough.process: \"{work}\" }}
    environment: {{ CAMPAIGN_ROLE: functions }}
"
    );
    std::fs::write(folder.join("stack.yaml"), stack).unwrap();
}

/// Ports that nothing listens on.
fn free_ports() -> [u16; 3] {
    let held = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
