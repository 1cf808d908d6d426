//! What a function may do in the store for one step: read its inputs, and write under one key.
//!
//! A credential is signed with the tenant's own password, so that a store needs nothing to know it by,
//! and stands in `AUTH tenant credential` in the password's place. Absent: taking one back before it
//! expires.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What credentials begin with; the number is that of their form.
const MARK: &str = "step1.";
/// The longest credential, in bytes: what an argument of a command may have.
const BYTES_MAX: usize = 16 << 10;

/// What one step may read and write.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepCredential {
    /// When it ends, in ms of Unix time.
    pub until_unix_ms: u64,
    /// Keys that may be read, with their buckets: `{request}1/load/0.4.9f3c21aa`.
    pub read: Vec<String>,
    /// The key that may be put, and read again.
    pub write: Option<String>,
    /// The claim under which it is put.
    pub epoch: u64,
}

/// Why a text is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It has too many keys.
    #[error("credential is {0} bytes, limit {BYTES_MAX}; name fewer inputs")]
    Large(usize),
    /// It was not signed with this password, or is none.
    #[error("credential is not signed with the tenant's password")]
    Forged,
    /// It is over.
    #[error("credential has expired")]
    Expired,
}

/// Its keys are no secret; it is shown without its signature.
impl fmt::Debug for StepCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepCredential")
            .field("until_unix_ms", &self.until_unix_ms)
            .field("read", &self.read.len())
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}

impl StepCredential {
    /// The credential as it stands in the password's place.
    ///
    /// # Errors
    /// More keys than fit.
    pub fn sign(&self, password: &[u8]) -> Result<String, CredentialError> {
        let claims = serde_json::to_vec(self).map_err(|_| CredentialError::Forged)?;
        let signed = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = mac(password, &signed).finalize().into_bytes();
        let whole = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        match whole.len() {
            fits if fits <= BYTES_MAX => Ok(whole),
            large => Err(CredentialError::Large(large)),
        }
    }

    /// Whether a text is meant to be one.
    #[must_use]
    pub fn is_one(text: &[u8]) -> bool {
        text.starts_with(MARK.as_bytes())
    }

    /// Reads one that was signed with this password.
    ///
    /// # Errors
    /// A signature by another, what was changed, and what is over.
    pub fn verify(text: &[u8], password: &[u8], now_unix_ms: u64) -> Result<Self, CredentialError> {
        let text = std::str::from_utf8(text).map_err(|_| CredentialError::Forged)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(CredentialError::Forged)?;
        let decode = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text);
            bytes.map_err(|_| CredentialError::Forged)
        };
        let signature = decode(signature)?;
        let checked = mac(password, signed).verify_slice(&signature);
        checked.map_err(|_| CredentialError::Forged)?;
        let claims = signed.strip_prefix(MARK).ok_or(CredentialError::Forged)?;
        let claims = decode(claims)?;
        let read: Self = serde_json::from_slice(&claims).map_err(|_| CredentialError::Forged)?;
        if !read.holds(now_unix_ms) {
            return Err(CredentialError::Expired);
        }
        Ok(read)
    }

    /// Whether it still holds.
    #[must_use]
    pub const fn holds(&self, now_unix_ms: u64) -> bool {
        now_unix_ms < self.until_unix_ms
    }

    /// Whether this key may be read.
    #[must_use]
    pub fn may_read(&self, key: &[u8]) -> bool {
        self.may_write(key) || self.read.iter().any(|read| read.as_bytes() == key)
    }

    /// Whether something may be put under this key.
    #[must_use]
    pub fn may_write(&self, key: &[u8]) -> bool {
        self.write
            .as_ref()
            .is_some_and(|write| write.as_bytes() == key)
    }
}

fn mac(password: &[u8], signed: &str) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "a key of any length does")]
    let mut mac = Hmac::<Sha256>::new_from_slice(password).expect("any length");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> StepCredential {
        StepCredential {
            until_unix_ms: 1_000,
            read: vec!["{r}1/load/0.1.aa".into()],
            write: Some("{r}1/clean/0.1.x".into()),
            epoch: 3,
        }
    }

    #[test]
    fn it_holds_for_its_keys_until_its_time() {
        let text = credential().sign(b"secret").unwrap();
        let read = StepCredential::verify(text.as_bytes(), b"secret", 999).unwrap();
        assert_eq!(read, credential());
        assert!(read.may_read(b"{r}1/load/0.1.aa") && !read.may_read(b"{r}1/load/0.1.a"));
        assert!(read.may_write(b"{r}1/clean/0.1.x") && !read.may_write(b"{r}1/clean/0.1.xy"));
        assert!(!read.may_write(b"{r}1/load/0.1.aa"));
        let over = StepCredential::verify(text.as_bytes(), b"secret", 1_000);
        assert_eq!(over, Err(CredentialError::Expired));
    }

    #[test]
    fn one_that_was_changed_or_signed_by_another_is_none() {
        let text = credential().sign(b"secret").unwrap();
        let check = |text: &[u8], password: &[u8]| {
            assert_eq!(
                StepCredential::verify(text, password, 0),
                Err(CredentialError::Forged),
                "{}",
                text.escape_ascii()
            );
        };
        check(text.as_bytes(), b"other");
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            check(&changed, b"secret");
            check(&text.as_bytes()[..place], b"secret");
        }
        check(b"", b"secret");
        let mut many = credential();
        many.read = vec!["k".repeat(512); 30];
        assert!(matches!(many.sign(b"s"), Err(CredentialError::Large(_))));
    }
}
