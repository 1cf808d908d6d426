//! Where a command writes: results to stdout, everything else to stderr.
//!
//! A reader that goes away, as `head` does, is no error.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use crate::exit::Failure;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON document on one line
    Json,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
}

impl Terminal {
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// True when progress may be drawn.
    pub(crate) fn draws(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Writes a result as it is; on a terminal with an end of line after it.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<(), Failure> {
        let ends = bytes.is_empty() || bytes.ends_with(b"\n");
        let end: &[u8] = if io::stdout().is_terminal() && !ends {
            b"\n"
        } else {
            b""
        };
        write(io::stdout(), &[bytes, end])
    }

    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        write(io::stdout(), &[text.as_bytes(), b"\n"])
    }

    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .context("cannot write the result as JSON")
            .map_err(Failure::platform)?;
        self.line(&text)
    }

    /// Something to know that is no result.
    pub(crate) fn note(self, text: &str) {
        // Without stderr there is nobody to tell.
        let _ = write(io::stderr(), &[text.as_bytes(), b"\n"]);
    }

    /// A note that `--quiet` leaves out.
    pub(crate) fn progress(self, text: &str) {
        if !self.quiet {
            self.note(text);
        }
    }
}

fn write(mut to: impl Write, parts: &[&[u8]]) -> Result<(), Failure> {
    let written = parts
        .iter()
        .try_for_each(|part| to.write_all(part))
        .and_then(|()| to.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error)
            .context("cannot write")
            .map_err(Failure::platform),
        _ => Ok(()),
    }
}
