//! A log as `turlough events --output json` prints it: appends of events, a line per event.

use std::io::{BufRead, Read as _};

use anyhow::{Error, anyhow};
use serde_json::Value as Json;

use super::said::{NAMES, Said};

/// A longer line is no event of ours; a graph that was made at run time is shown up to 64 KiB.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Most events in one append: each takes some bytes of the 512 KiB that one may have.
const APPEND_EVENTS_MAX: usize = 1 << 16;
/// How much of a line is quoted.
const QUOTE_CHARS_MAX: usize = 60;

/// An event at its place.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its line, from 1.
    pub(super) line: usize,
    /// Of its append: events that were recorded together have one.
    pub(super) seq: u64,
    pub(super) said: Said,
}

#[derive(Debug)]
pub(super) struct Log<R> {
    reader: R,
    line: usize,
    seq: u64,
}

impl<R: BufRead> Log<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self {
            reader,
            line: 0,
            seq: 0,
        }
    }

    /// The events that were recorded together next; none at the end.
    pub(super) fn next_append(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        let mut entries = Vec::new();
        while let Some(text) = self.next_line()? {
            let line = self.line;
            let (seq, said) = read(&text).map_err(|why| anyhow!("line {line}: {why}"))?;
            if entries.len() == APPEND_EVENTS_MAX {
                return Err(anyhow!(
                    "line {line}: {APPEND_EVENTS_MAX} events before it have no seq, and the last of those that were recorded together has one; print the log anew"
                ));
            }
            entries.push(Entry { line, seq: 0, said });
            let Some(seq) = seq else { continue };
            if seq <= self.seq {
                return Err(anyhow!(
                    "line {line}: it is out of order: seq {seq} comes after seq {}; print the log anew, of one request, or sort its lines as they were",
                    self.seq
                ));
            }
            self.seq = seq;
            for entry in &mut entries {
                entry.seq = seq;
            }
            return Ok(Some(entries));
        }
        match entries.first() {
            Some(first) => Err(anyhow!(
                "line {}: the log breaks off: the events from here on were recorded together with one that is not there, and have no seq; print it anew",
                first.line
            )),
            None if self.seq == 0 => Err(anyhow!(
                "it is empty; write what `turlough events ID --output json` prints into it"
            )),
            None => Ok(None),
        }
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> Result<Option<String>, Error> {
        loop {
            let mut bytes = Vec::new();
            let room = LINE_BYTES_MAX as u64 + 1;
            let read = (&mut self.reader).take(room).read_until(b'\n', &mut bytes);
            let line = self.line + 1;
            if read.map_err(|error| anyhow!("line {line}: cannot be read: {error}"))? == 0 {
                return Ok(None);
            }
            self.line = line;
            if bytes.len() > LINE_BYTES_MAX {
                return Err(anyhow!(
                    "line {line}: it is longer than {LINE_BYTES_MAX} bytes, and no event is; write what `turlough events ID --output json` prints"
                ));
            }
            let text = String::from_utf8(bytes).map_err(|_| not_json(line, "it is no UTF-8"))?;
            if !text.trim().is_empty() {
                return Ok(Some(text));
            }
        }
    }
}

fn not_json(line: usize, why: &str) -> Error {
    anyhow!(
        "line {line}: it is not JSON: {why}; write what `turlough events ID --output json` prints, a document per line"
    )
}

fn read(text: &str) -> Result<(Option<u64>, Said), String> {
    let quote: String = text.trim().chars().take(QUOTE_CHARS_MAX).collect();
    let event: Json = serde_json::from_str(text).map_err(|error| {
        format!(
            "it is not JSON: {error}; found {quote:?}; write what `turlough events ID --output json` prints, a document per line"
        )
    })?;
    let Some(name) = event["event"].as_str().map(str::to_owned) else {
        return Err(format!(
            "it has no event; found {quote:?}; write what `turlough events ID --output json` prints"
        ));
    };
    let seq = match &event["seq"] {
        Json::Null => None,
        seq => match seq.as_u64().filter(|seq| *seq > 0) {
            Some(seq) => Some(seq),
            None => return Err(format!("seq {seq} of {name} is no place in a log")),
        },
    };
    if name == "snapshot" {
        return Err("a snapshot is no event that can be replayed; `turlough request ID --at SEQ` shows the request from it on".to_owned());
    }
    if !NAMES.contains(&name.as_str()) {
        let name: String = name.chars().take(QUOTE_CHARS_MAX).collect();
        return Err(format!(
            "event {name:?} is unknown to this version; use the turlough that printed it, or a newer one"
        ));
    }
    let said = serde_json::from_value(event);
    let said = said.map_err(|error| format!("{name} is not as events are printed: {error}"))?;
    Ok((seq, said))
}
