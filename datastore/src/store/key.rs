//! Keys as clients write them: `{request}name` lies in the bucket of that request, all else in none.

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// A key, apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// What stands in braces; empty where nothing does.
    pub(crate) bucket: &'a [u8],
    pub(crate) name: &'a [u8],
}

/// Why a key is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is empty.
    #[error("key is empty; a key is 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// It is too long.
    #[error("key is {0} bytes, limit {KEY_BYTES_MAX}; shorten it, by a hash for instance")]
    Long(usize),
}

impl<'a> Key<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            0 => return Err(KeyError::Empty),
            long if long > KEY_BYTES_MAX => return Err(KeyError::Long(long)),
            _ => {}
        }
        let end = bytes.iter().position(|byte| *byte == b'}');
        Ok(match end {
            Some(end) if bytes[0] == b'{' && end > 1 => Self {
                bucket: &bytes[1..end],
                name: &bytes[end + 1..],
            },
            _ => Self {
                bucket: b"",
                name: bytes,
            },
        })
    }

    pub(crate) const fn has_bucket(&self) -> bool {
        !self.bucket.is_empty()
    }

    /// As a client writes it.
    pub(crate) fn whole(&self) -> Vec<u8> {
        if self.has_bucket() {
            [b"{", self.bucket, b"}", self.name].concat()
        } else {
            self.name.to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_braces_at_the_beginning_is_the_bucket() {
        let check = |text: &str, bucket: &str, name: &str| {
            let key = Key::parse(text.as_bytes()).unwrap();
            assert_eq!(
                (key.bucket, key.name),
                (bucket.as_bytes(), name.as_bytes()),
                "{text}"
            );
            assert_eq!(key.whole(), text.as_bytes());
        };
        check("{r1}a/b", "r1", "a/b");
        check("{r1}", "r1", "");
        check("{r1}a}b", "r1", "a}b");
        check("a{r1}b", "", "a{r1}b");
        check("{}a", "", "{}a");
        check("{r1", "", "{r1");
        assert_eq!(Key::parse(b""), Err(KeyError::Empty));
        assert_eq!(Key::parse(&[1; 513]), Err(KeyError::Long(513)));
        assert!(Key::parse(&[1; 512]).is_ok());
    }
}
