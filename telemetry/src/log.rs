//! The log of a process, on its standard error: text for people, JSON for what collects logs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// A line for a person, with colours where it is read at a terminal.
    #[default]
    Text,
    /// An object per line: `timestamp`, `level`, `message`, `target` and a member for each field.
    Json,
}

impl LogFormat {
    /// Writes the log of this process, filtered as `RUST_LOG` says, or without it as `unasked` does.
    /// Where somebody has set up a log before, that one stays.
    pub fn install(self, unasked: &str) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(unasked));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(takes_colours())
            .with_writer(std::io::stderr);
        drop(match self {
            Self::Text => log.try_init(),
            Self::Json => log.json().flatten_event(true).try_init(),
        });
    }
}

/// Files, pipes and log collectors show escape codes as they are; <https://no-color.org>.
fn takes_colours() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|said| !said.is_empty());
    std::io::stderr().is_terminal() && !is_unwanted
}
