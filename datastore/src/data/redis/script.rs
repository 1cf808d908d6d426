//! A script that a server keeps, and is told anew where it does not have it.

use redis::{Cmd, Value};

use crate::data::line::{Fault, Line};

#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    sha1: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            text,
            sha1: redis::Script::new(text).get_hash().to_owned(),
        }
    }

    /// Runs it: what it answered. `bytes` is what is moved.
    pub(super) async fn run(
        &self,
        line: &Line,
        keys: &[String],
        args: &[&[u8]],
        bytes: usize,
    ) -> Result<Value, Fault> {
        let known = command("EVALSHA", &self.sha1, keys, args);
        match line.ask(&known, bytes).await {
            Err(Fault::Said(said)) if said.code == "NOSCRIPT" => {}
            answered => return answered.map(|(value, _)| value),
        }
        drop(known);
        let told = command("EVAL", self.text, keys, args);
        let answered = line.ask(&told, bytes).await;
        answered.map(|(value, _)| value)
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys);
    for arg in args {
        command.arg(arg);
    }
    command
}
