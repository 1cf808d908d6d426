//! Server-sent events: bytes in, events out. Pure.

use anyhow::bail;

/// A line longer than this is no event of ours; errors of steps are quoted in them, values are not.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: String,
}

#[derive(Debug, Default)]
pub(super) struct EventReader {
    line: Vec<u8>,
    event: ServerEvent,
}

impl EventReader {
    /// The events that end in this piece of the stream.
    pub(super) fn push(&mut self, piece: &[u8]) -> anyhow::Result<Vec<ServerEvent>> {
        let mut events = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                bail!("a line of the event stream is over {LINE_BYTES_MAX} bytes");
            }
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                events.extend(self.take(line.trim_end_matches(['\r', '\n'])));
            }
        }
        Ok(events)
    }

    /// An empty line ends an event; one without data, such as a comment, is none.
    fn take(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: accepted\ndata: {\"a\":1}\n\n:\n\nevent: ended\r\ndata: x\r\ndata: y\r\nid: 7\r\n\r\n";

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let expected = [
            ServerEvent {
                id: None,
                name: "accepted".to_owned(),
                data: "{\"a\":1}".to_owned(),
            },
            ServerEvent {
                id: Some("7".to_owned()),
                name: "ended".to_owned(),
                data: "x\ny".to_owned(),
            },
        ];
        for size in 1..=STREAM.len() {
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                events.extend(reader.push(piece).unwrap());
            }
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn endless_line_is_refused() {
        let mut reader = EventReader::default();
        let piece = vec![b'x'; 64 << 10];
        let refused = (0..32).any(|_| reader.push(&piece).is_err());
        assert!(refused && reader.line.len() <= LINE_BYTES_MAX);
    }
}
