//! A cluster of three redis-servers, on free ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::program::until;
use crate::supervised::Supervised;

const NODES: usize = 3;
/// The port of a node's own words with the others is this much higher.
const BUS: u16 = 10_000;

/// A cluster of a test. Nothing in it outlives it.
#[derive(Debug)]
pub struct RedisCluster {
    folder: tempfile::TempDir,
    ports: Vec<u16>,
    running: Vec<Supervised>,
}

impl RedisCluster {
    /// A cluster with nothing in it, that takes all keys.
    pub async fn start() -> Self {
        let mut ports = Vec::new();
        while ports.len() < NODES {
            let port = free_pair();
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            ports,
            running: Vec::new(),
        };
        for port in &cluster.ports {
            std::fs::create_dir(cluster.folder.path().join(port.to_string())).unwrap();
        }
        cluster.start_again().await;
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(cluster.nodes())
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&created.stdout);
        assert!(created.status.success(), "{said}");
        cluster.is_whole().await;
        cluster
    }

    /// Where its nodes listen, as `host:port`.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let ports = self.ports.iter();
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Has a node do something; its answer.
    pub fn command(&self, node: usize, words: &[&str]) -> String {
        say(self.ports[node], words)
    }

    /// Kills all nodes.
    pub fn kill(&mut self) {
        self.running.clear();
    }

    /// Starts all nodes, which know one another again where they did before, and waits until they answer.
    pub async fn start_again(&mut self) {
        for port in &self.ports {
            self.running.push(start(self.folder.path(), *port));
        }
        for port in &self.ports {
            until("a node of the cluster answers", async || {
                (say(*port, &["PING"]).trim() == "PONG").then_some(())
            })
            .await;
        }
    }

    /// Waits until all nodes say that the cluster is whole.
    pub async fn is_whole(&self) {
        for node in 0..NODES {
            until("the cluster is whole", async || {
                let info = self.command(node, &["CLUSTER", "INFO"]);
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
                    .then_some(())
            })
            .await;
        }
    }
}

fn start(folder: &Path, port: u16) -> Supervised {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no"]);
    command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
    command.arg("--dir").arg(folder.join(port.to_string()));
    Supervised::start(&command)
}

fn say(port: u16, words: &[&str]) -> String {
    let said = Command::new("timeout")
        .args([
            &Duration::from_secs(5).as_secs().to_string(),
            "redis-cli",
            "-p",
        ])
        .arg(port.to_string())
        .args(words)
        .output();
    String::from_utf8_lossy(&said.unwrap().stdout).into_owned()
}

/// A port that is free, and whose bus port is.
fn free_pair() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bus = port.checked_add(BUS);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}
