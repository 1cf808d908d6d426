//! How a command ends: the exit codes, which scripts may rely on, and the error that carries one.

use std::process::ExitCode;

/// Listed in `--help`; change both together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    /// The gateway or a flow-function cannot be reached, refuses, or breaks off.
    Platform,
    /// What the user gave is wrong; clap ends with it too.
    BadInput,
    /// The request ran, and failed.
    Failed,
    /// The request timed out, was cancelled, or has not ended yet.
    NotDone,
    /// Ctrl-C: 128 and the signal's number, as shells have it.
    Interrupted,
    /// What the command after `dev --` ended with.
    Guest(u8),
}

pub(crate) const HELP: &str = "Exit codes:
  0    done
  1    the platform cannot be reached, refuses, or breaks off
  2    bad input: usage, an invalid flow or stack, an unknown flow, function or request
  3    the request failed
  4    the request timed out or was cancelled, or has not ended in the time given; a function that was
       deployed was not ready in it
  130  Ctrl-C while waiting; the request goes on, what was deployed stays
  dev -- COMMAND ends with the command's own code";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) cause: anyhow::Error,
}

impl Failure {
    pub(crate) fn platform(cause: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Platform,
            cause: cause.into(),
        }
    }

    pub(crate) fn input(cause: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::BadInput,
            cause: cause.into(),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Platform => 1,
            Exit::BadInput => 2,
            Exit::Failed => 3,
            Exit::NotDone => 4,
            Exit::Interrupted => 130,
            Exit::Guest(code) => code,
        })
    }
}
