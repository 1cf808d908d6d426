//! Names of values, as names of objects.
//!
//! Invariant: two names never become one, and none becomes a way out of its folder.

use turlough_sdk::Digest;

/// Names of files are 255 bytes at most, and what is being written has a longer one.
const BYTES_MAX: usize = 200;

/// Letters, digits, `-`, `_`, and `.` where it is not the first stay as they are; all else is `=` and two
/// hexadecimal digits. What gets too long by it is a digest, which no other name looks like.
pub(super) fn written(name: &str) -> String {
    let mut written = String::with_capacity(name.len());
    for (n, byte) in name.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if is_plain || (byte == b'.' && n > 0) {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("={byte:02x}"));
        }
    }
    if written.len() > BYTES_MAX {
        return format!("=={}", Digest::of(name.as_bytes()));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_and_stay_where_they_are() {
        let check = |name: &str, expect: &str| assert_eq!(written(name), expect, "{name}");
        check(
            "1/months[3]/0.4.9f3c21aa",
            "1=2fmonths=5b3=5d=2f0.4.9f3c21aa",
        );
        check("..", "=2e.");
        check(".", "=2e");
        check("../../etc/passwd", "=2e.=2f..=2fetc=2fpasswd");
        check("a=2fb", "a=3d2fb");
        check("ä", "=c3=a4");
        let long = written(&"a/".repeat(250));
        assert_eq!(long.len(), 34);
        assert!(long.starts_with("=="), "{long}");
        assert_ne!(long, written(&"b/".repeat(250)));
    }
}
