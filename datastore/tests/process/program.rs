//! A store as a process, with a folder of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::Client;

/// How long a store may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what a store does in its own time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within 30 s: {what}");
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}

fn let_in(folder: &Path, name: &str) {
    let file = folder.join(format!("turlough-store-{name}"));
    fs::write(file, format!("{name}-secret\n")).unwrap();
}

/// A store that ends with its test.
pub(crate) struct Store {
    child: Child,
    folder: tempfile::TempDir,
    address: String,
    metrics: String,
    lines: Receiver<String>,
}

impl Store {
    /// One where nobody needs a password.
    pub(crate) fn open() -> Self {
        Self::with(&[], &[])
    }

    /// One with passwords, `name-secret` for each name, and more settings.
    pub(crate) fn with(names: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let_in(folder.path(), name);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_turlough-datastore"));
        command
            .env_clear()
            .env("NO_COLOR", "1")
            .env("TURLOUGH_LISTEN", "127.0.0.1")
            .env("TURLOUGH_STORE_PORT", "0")
            .env("TURLOUGH_STORE_METRICS_PORT", "0")
            .env("TURLOUGH_STORE_SOCKET", folder.path().join("store.sock"))
            .env("TURLOUGH_STORE_BYTES_MAX", (1_u64 << 30).to_string())
            .env("TURLOUGH_SECRETS", folder.path())
            .envs(settings.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let told = BufReader::new(child.stderr.take().unwrap());
        let early = sender.clone();
        std::thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut store = Self {
            child,
            folder,
            address: String::new(),
            metrics: String::new(),
            lines,
        };
        let mut before = Vec::new();
        let line = loop {
            let line = store.logged("");
            if line.contains("address=") {
                break line;
            }
            before.push(line);
        };
        // What was said before it listened can be asked for as well.
        for line in before {
            early.send(line).unwrap();
        }
        let field = |name: &str| {
            let rest = line.split_once(name).unwrap().1;
            rest.split_whitespace().next().unwrap().to_owned()
        };
        store.address = field("address=");
        store.metrics = field("metrics=");
        store
    }

    /// The next line of its log that holds a text.
    pub(crate) fn logged(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the store does not say {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// How many lines that hold a text it has logged since a line was last asked for.
    pub(crate) fn times_logged(&self, part: &str) -> usize {
        let lines = self.lines.try_iter();
        lines.filter(|line| line.contains(part)).count()
    }

    /// Has a name with a password from now on, `name-secret`.
    pub(crate) fn let_in(&self, name: &str) {
        let_in(self.folder.path(), name);
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("store.sock")
    }

    /// A connection of whoever need not say who it is.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// A connection of a name.
    pub(crate) fn client_as(&self, name: &str) -> Client {
        let mut client = self.client();
        let password = format!("{name}-secret");
        assert_eq!(client.say(&["AUTH", name, &password]), "OK");
        client
    }

    /// What the store says of itself at a path of its other port.
    pub(crate) fn get(&self, path: &str) -> String {
        let output = Command::new("curl")
            .args(["-s", &format!("http://{}{path}", self.metrics)])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A metric's value.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {text}"));
        line.trim().parse().unwrap()
    }

    /// Its memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap();
        kib << 10
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    pub(crate) fn tell_to_end(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
    }

    /// Asks it to end, and waits until it did; whether it ended well.
    pub(crate) fn end(mut self) -> bool {
        self.tell_to_end();
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the store does not end");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
