//! A process that ends with its test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Ends the server when its standard input ends: by our will, or because the test is no more, however
/// it ended. Before that it tells the server's process id.
const SUPERVISOR: &str = r#""$@" >/dev/null 2>&1 & server=$!; echo $server; cat >/dev/null; kill -9 $server; wait $server"#;

#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    input: Option<ChildStdin>,
    server: u32,
}

impl Supervised {
    pub(crate) fn start(command: &Command) -> Self {
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = supervisor.stdin.take();
        let mut line = String::new();
        let mut told = BufReader::new(supervisor.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        Self {
            supervisor,
            input,
            server: line.trim().parse().unwrap(),
        }
    }

    /// The server's process id.
    pub(crate) const fn id(&self) -> u32 {
        self.server
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.input.take());
        self.supervisor.wait().unwrap();
    }
}
