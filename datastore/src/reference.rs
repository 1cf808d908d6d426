//! Where a value lies and what it is, as one line: what a function is given, and gives back.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use turlough_sdk::Digest;

use crate::store::KEY_BYTES_MAX;

/// What stays as it is in a key: what URLs allow in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
const SCHEME: &str = "turlough://";
/// The longest line: a key with each byte escaped, two addresses, and numbers.
const BYTES_MAX: usize = 4 * KEY_BYTES_MAX + 1_024;

/// Where a value lies: `turlough://10.0.0.1:7700/%7Br1%7Dmonths?boot=…&size=…&digest=…&backup=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The store that owns it, as host:port.
    pub store: String,
    /// Drawn when that store started: another one means that it came back empty.
    pub boot: u64,
    /// Its key, with its bucket: `{r1}months`.
    pub key: Vec<u8>,
    /// Its size, in bytes.
    pub size: u64,
    /// XXH3-128 of it.
    pub digest: Digest,
    /// The store that has a copy of it, as host:port.
    pub backup: Option<String>,
}

/// Why a line is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "reference {found:?} cannot be read: {why}; hand on what BUCKET.REF gave as it is, turlough://host:port/key?boot=…&size=…&digest=…"
)]
pub struct ReferenceError {
    found: String,
    why: &'static str,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = percent_encode(&self.key, PLAIN);
        let (store, boot, size) = (&self.store, self.boot, self.size);
        write!(f, "{SCHEME}{store}/{key}?boot={boot:016x}&size={size}")?;
        write!(f, "&digest={}", self.digest)?;
        match &self.backup {
            Some(backup) => write!(f, "&backup={backup}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|why| ReferenceError {
            found: text.chars().take(200).collect(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.len() > BYTES_MAX {
        return Err("it is too long");
    }
    let rest = text.strip_prefix(SCHEME);
    let rest = rest.ok_or("it does not begin with turlough://")?;
    let (place, fields) = rest.split_once('?').ok_or("it has no fields")?;
    let (store, key) = place.split_once('/').ok_or("it has no key")?;
    let key: Vec<u8> = percent_decode_str(key).collect();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err("its key is not 1 to 512 bytes");
    }
    let field = |name: &str| {
        let fields = fields.split('&').filter_map(|field| field.split_once('='));
        fields.into_iter().find(|(found, _)| *found == name)
    };
    let hex = |name, digits| {
        let (_, text) = field(name)?;
        let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok())?
    };
    let boot = hex("boot", 16).ok_or("its boot is not 16 digits of hex")?;
    let digest = hex("digest", 32).ok_or("its digest is not 32 digits of hex")?;
    let size = field("size").and_then(|(_, text)| text.parse().ok());
    let backup = field("backup").map(|(_, place)| is_address(place).then(|| place.to_owned()));
    Ok(Reference {
        store: is_address(store)
            .then(|| store.to_owned())
            .ok_or("its store is not host:port")?,
        // It has 16 digits.
        boot: boot as u64,
        key,
        size: size.ok_or("its size is no number")?,
        digest: Digest(digest),
        backup: match backup {
            Some(backup) => Some(backup.ok_or("its backup is not host:port")?),
            None => None,
        },
    })
}

/// Whether a text is a host and a port.
pub(crate) fn is_address(text: &str) -> bool {
    let is_host = |host: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        !host.is_empty() && host.len() <= 255 && host.bytes().all(is_plain)
    };
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(key: &[u8], backup: Option<&str>) -> Reference {
        Reference {
            store: "10.0.0.1:7700".into(),
            boot: 7,
            key: key.to_vec(),
            size: 12,
            digest: Digest(9),
            backup: backup.map(str::to_owned),
        }
    }

    #[test]
    fn a_reference_is_read_as_it_was_written() {
        assert_eq!(
            reference(b"{r1}a b/c", Some("[fd00::1]:7700")).to_string(),
            "turlough://10.0.0.1:7700/%7Br1%7Da%20b/c?boot=0000000000000007&size=12\
             &digest=00000000000000000000000000000009&backup=[fd00::1]:7700"
        );
        let all: Vec<u8> = (0..=255).collect();
        for key in [&b"{r1}a"[..], b"?&=/%", &all, &[b'%'; 512]] {
            for backup in [None, Some("store-2.store:7700")] {
                let whole = reference(key, backup);
                assert_eq!(whole.to_string().parse(), Ok(whole));
            }
        }
    }

    #[test]
    fn what_is_none_is_refused_with_its_reason() {
        let good = reference(b"{r1}a", None).to_string();
        for (from, to, why) in [
            ("turlough:", "http:", "begin"),
            ("%7Br1%7Da", "", "key"),
            ("%7Br1%7Da", &"a".repeat(513), "key"),
            ("boot=0", "boot=", "boot"),
            ("boot=0", "boot=+", "boot"),
            ("size=12", "size=-1", "size"),
            ("digest=0", "digest=x", "digest"),
            ("10.0.0.1:7700", "user:secret@10.0.0.1:7700", "store"),
            ("10.0.0.1:7700", "10.0.0.1", "store"),
            ("size=12", "size=12&backup=here", "backup"),
            ("size=12", &"x".repeat(9_000), "long"),
        ] {
            let error = good.replacen(from, to, 1).parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains(why), "{from} {to}: {error}");
        }
    }
}
