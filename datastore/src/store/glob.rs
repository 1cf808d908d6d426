//! Patterns as `SCAN … MATCH` has them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is meant as it is.

/// Whether a text is of a pattern. It takes as many steps as pattern times text at most.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    // Where the last star stands, and what it has taken up to now.
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, place));
            at += 1;
        } else if let Some(taken) = one(&pattern[at..], text[place]) {
            at += taken;
            place += 1;
        } else if let Some((begin, taken)) = star {
            star = Some((begin, taken + 1));
            at = begin + 1;
            place = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How long the part at the head of a pattern is that stands for one byte, where it does for this one.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => set(pattern, byte),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        same => (same == byte).then_some(1),
    }
}

/// A set in brackets; one that is not closed ends with the pattern.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_not = pattern.get(1) == Some(&b'^');
    let mut at = if is_not { 2 } else { 1 };
    let mut is_in = false;
    while at < pattern.len() && pattern[at] != b']' {
        if pattern[at] == b'\\' && at + 1 < pattern.len() {
            is_in |= pattern[at + 1] == byte;
            at += 2;
        } else if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() {
            let (from, to) = (pattern[at], pattern[at + 2]);
            is_in |= (from.min(to)..=from.max(to)).contains(&byte);
            at += 3;
        } else {
            is_in |= pattern[at] == byte;
            at += 1;
        }
    }
    (is_in != is_not).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_do_in_redis() {
        for (pattern, text, is_match) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\?llo", "h?llo", true),
            ("h\\?llo", "hello", false),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("", "", true),
            ("", "a", false),
            ("{r1}*", "{r1}a/b", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                is_match,
                "{pattern} {text}"
            );
        }
        // Nothing is tried over and over.
        assert!(!matches(&b"a*".repeat(2_000), &b"a".repeat(1_000)));
    }
}
