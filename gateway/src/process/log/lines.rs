//! Bytes in, lines out. Pure; a line's memory is bounded.

/// The rest of a longer line is dropped, and marked.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024;

const CUT_MARK: &str = " … (cut)";

/// The beginning of a line whose end has not been seen.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Takes what was read; returns the lines that it completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece);
            if pieces.peek().is_some() {
                complete.push(self.take());
            }
        }
        complete
    }

    /// The last line, if no newline ended it.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.open.is_empty()).then(|| self.take())
    }

    fn extend(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX - self.open.len();
        self.cut |= piece.len() > room;
        self.open.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn take(&mut self) -> String {
        let bytes = self.open.strip_suffix(b"\r").unwrap_or(&self.open);
        let mut line = String::from_utf8_lossy(bytes).into_owned();
        if self.cut {
            line.push_str(CUT_MARK);
        }
        self.open.clear();
        self.cut = false;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_across_reads() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\r\n\nthree"), ["two", ""]);
        assert_eq!(lines.finish().as_deref(), Some("three"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn long_line_is_cut_and_the_next_one_is_whole() {
        let mut lines = Lines::default();
        for _ in 0..10 {
            assert!(lines.push(&[b'x'; 5000]).is_empty());
            assert!(lines.open.len() <= LINE_BYTES_MAX);
        }
        let complete = lines.push(b"\nnext\n");
        assert_eq!(complete[0].len(), LINE_BYTES_MAX + CUT_MARK.len());
        assert!(complete[0].ends_with(CUT_MARK));
        assert_eq!(complete[1], "next");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(Lines::default().push(b"a\xffb\n"), ["a\u{fffd}b"]);
    }
}
