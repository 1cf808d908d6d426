//! A store as a process: this executable, started once more.

use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser as _;
use std::io::{Read as _, Write as _};

/// The arguments with which this executable is nothing but a store.
const ARGUMENTS: [&str; 4] = [
    "--ignored",
    "--exact",
    "stores::process::is_a_store",
    "--nocapture",
];

/// Copies of what a store held that was killed go with their leases.
pub(crate) const LEASE: &str = "15s";

/// A store that does not outlive its test.
pub(crate) struct Store {
    port: u16,
    settings: Vec<(&'static str, String)>,
    child: Child,
}

impl Store {
    /// One at a port, which knows others.
    pub(crate) fn start(port: u16, peers: &str, backup: &str) -> Self {
        let settings = vec![
            ("STORE_ROLE", "yes".to_owned()),
            ("TURLOUGH_LISTEN", "127.0.0.1".to_owned()),
            ("TURLOUGH_STORE_PORT", port.to_string()),
            ("TURLOUGH_STORE_METRICS_PORT", "0".to_owned()),
            ("TURLOUGH_STORE_BYTES_MAX", (1_u64 << 30).to_string()),
            ("TURLOUGH_STORE_PEERS", peers.to_owned()),
            ("TURLOUGH_STORE_BACKUP", backup.to_owned()),
            ("TURLOUGH_STORE_LEASE", LEASE.to_owned()),
            ("TURLOUGH_SECRETS", "/nowhere".to_owned()),
        ];
        let child = spawn(&settings);
        let store = Self {
            port,
            settings,
            child,
        };
        store.is_there();
        store
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// With nothing in it, at the same place.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.settings);
        self.is_there();
    }

    /// Keys that it holds; none where it does not run.
    pub(crate) fn keys(&self) -> u64 {
        let Some(said) = self.say("DBSIZE") else {
            return 0;
        };
        said.trim_start_matches(':').trim().parse().unwrap()
    }

    fn is_there(&self) {
        for _ in 0..3_000 {
            if self.say("PING").is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("store was not there within 30 s");
    }

    fn say(&self, command: &str) -> Option<String> {
        let mut line = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        line.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let (mut said, mut byte) = (String::new(), [0]);
        while byte[0] != b'\n' {
            line.read_exact(&mut byte).ok()?;
            said.push(char::from(byte[0]));
        }
        Some(said)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(settings: &[(&'static str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(ARGUMENTS)
        .env_clear()
        .envs(settings.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// So many ports that nobody listens at.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<_> = (0..count).map(bind).collect();
    let port = |held: &TcpListener| held.local_addr().unwrap().port();
    held.iter().map(port).collect()
}

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    settings: turlough_datastore::Settings,
}

#[test]
#[ignore = "a store as a process, which the tests here start"]
fn is_a_store() {
    if std::env::var_os("STORE_ROLE").is_none() {
        return;
    }
    std::thread::spawn(|| {
        // Standard input ends with whoever started this process, however that ended.
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        std::process::exit(1);
    });
    let ended = turlough_datastore::main_with(Arguments::parse_from(["store"]).settings);
    assert!(ended == ExitCode::SUCCESS);
}
