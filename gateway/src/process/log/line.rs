//! A line of a function's output, and how it stands in a file.

use std::sync::Arc;

use jiff::Timestamp;

/// What a replica wrote up to a newline, and when that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) at: Timestamp,
    /// The function's name and the process's id.
    pub(crate) instance: Arc<str>,
    pub(crate) text: String,
}

impl LogLine {
    /// `<time> <instance> <text>`, as people and `grep` read it.
    pub(super) fn write(&self, into: &mut String) {
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = writeln!(into, "{:.3} {} {}", self.at, self.instance, self.text);
    }

    /// `None` for what was not written so.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ' ');
        let (at, instance, text) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            at: at.parse().ok()?,
            instance: Arc::from(instance),
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_read_as_it_was_written() {
        let line = LogLine {
            at: "2026-11-23T07:00:00.125Z".parse().unwrap(),
            instance: Arc::from("it-12"),
            text: "two  spaces, and ü".into(),
        };
        let mut text = String::new();
        line.write(&mut text);
        assert_eq!(text, "2026-11-23T07:00:00.125Z it-12 two  spaces, and ü\n");
        assert_eq!(LogLine::read(text.trim_end()), Some(line));
        assert_eq!(LogLine::read("torn"), None);
        assert_eq!(LogLine::read("now it-12 text"), None);
    }
}
