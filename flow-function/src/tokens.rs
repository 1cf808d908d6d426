//! Tokens of callbacks: whoever holds one may complete the attempt that it names, and no other.
//!
//! Invariants: a token that this key did not sign names nothing; how long a check takes says nothing
//! of the right signature; an attempt has one token, so that a call which is made again sends the same.
//! Absent: an end of validity; an attempt that nobody waits for any more is refused by its request.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tracing::{error, warn};
use turlough_sdk::{RequestId, StepPath};
use uuid::Uuid;

/// Name of the secret that holds the key; without it, tokens hold for the life of the process.
const KEY: &str = "turlough-callback-key";
/// Shortest key that is taken, in bytes: half of what the signature has.
const KEY_BYTES_MIN: usize = 16;
/// What is signed begins with this, so that no other use of the key signs the same.
const PURPOSE: &[u8] = b"turlough callback 1\0";
/// Of a signature, in bytes.
const SIGNATURE_BYTES: usize = 32;
/// Request, generation, attempt; the step follows.
const HEAD_BYTES: usize = 16 + 4 + 4;
/// Longest token, in bytes: room for the path of a step in every body that may stand in another.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// An attempt that waits to be completed from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    pub(crate) generation: u32,
    pub(crate) step: StepPath,
    pub(crate) attempt: u32,
}

/// Signs tokens, and knows its own.
pub(crate) struct Tokens {
    key: Hmac<Sha256>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// With the key that lies in the folder of secrets; otherwise with one that is drawn.
    pub(crate) fn new(secrets: &Path) -> Self {
        let path = secrets.join(KEY);
        let key = match std::fs::read(&path) {
            Ok(text) => {
                let key = text.trim_ascii();
                let (found, limit) = (key.len(), KEY_BYTES_MIN);
                if found >= limit {
                    return Self::with_key(key);
                }
                error!(path = %path.display(), found, limit, "callback key is too short and is not used");
                drawn()
            }
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => drawn(),
            Err(error) => {
                warn!(path = %path.display(), %error, "callback key cannot be read and is not used");
                drawn()
            }
        };
        Self::with_key(&key)
    }

    fn with_key(key: &[u8]) -> Self {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let key = Hmac::new_from_slice(key).expect("a key of any length");
        Self { key }
    }

    /// The token of an attempt: letters, digits, `-` and `_`.
    pub(crate) fn sign(&self, waiting: &Waiting) -> String {
        let mut token = Vec::with_capacity(HEAD_BYTES + 64 + SIGNATURE_BYTES);
        token.extend_from_slice(waiting.request.as_uuid().as_bytes());
        token.extend_from_slice(&waiting.generation.to_be_bytes());
        token.extend_from_slice(&waiting.attempt.to_be_bytes());
        token.extend_from_slice(waiting.step.as_str().as_bytes());
        let signature = self.signing(&token).finalize().into_bytes();
        token.extend_from_slice(&signature);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The attempt that a token names; none where it is not one of ours.
    pub(crate) fn verify(&self, token: &str) -> Option<Waiting> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (named, signature) = token.split_last_chunk::<SIGNATURE_BYTES>()?;
        self.signing(named).verify_slice(signature).ok()?;
        let (request, rest) = named.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (attempt, step) = rest.split_first_chunk::<4>()?;
        Some(Waiting {
            request: RequestId::from_uuid(Uuid::from_bytes(*request)),
            generation: u32::from_be_bytes(*generation),
            step: StepPath::from(std::str::from_utf8(step).ok()?),
            attempt: u32::from_be_bytes(*attempt),
        })
    }

    fn signing(&self, named: &[u8]) -> Hmac<Sha256> {
        let mut signing = self.key.clone();
        signing.update(PURPOSE);
        signing.update(named);
        signing
    }
}

/// A key of 244 random bits.
fn drawn() -> Vec<u8> {
    [Uuid::new_v4(), Uuid::new_v4()]
        .iter()
        .flat_map(|half| half.into_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Waiting {
        Waiting {
            request: RequestId::from_uuid(Uuid::from_u128(42)),
            generation: 1,
            step: StepPath::from("months[3]/poll#2/get"),
            attempt: 7,
        }
    }

    #[test]
    fn a_token_reads_back_and_fits_a_url() {
        let tokens = Tokens::with_key(b"a key of 16 bytes");
        let token = tokens.sign(&waiting());
        assert_eq!(tokens.verify(&token), Some(waiting()));
        assert_eq!(tokens.sign(&waiting()), token, "the same for the same");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(token.bytes().all(plain), "{token}");
    }

    #[test]
    fn a_token_that_was_altered_anywhere_names_nothing() {
        let tokens = Tokens::with_key(b"a key of 16 bytes");
        let token = tokens.sign(&waiting());
        for at in 0..token.len() {
            for other in [b'A', b'B', b'_', b'9', b'.', b'='] {
                let mut altered = token.clone().into_bytes();
                if altered[at] == other {
                    continue;
                }
                altered[at] = other;
                let altered = String::from_utf8(altered).unwrap();
                assert_eq!(tokens.verify(&altered), None, "byte {at}: {altered}");
            }
            assert_eq!(tokens.verify(&token[..at]), None, "cut at {at}");
        }
        for more in ["A", "AAAA", "=", " "] {
            assert_eq!(tokens.verify(&format!("{token}{more}")), None);
        }
        assert_eq!(tokens.verify(&"A".repeat(TOKEN_BYTES_MAX + 4)), None);
    }

    #[test]
    fn a_token_of_another_key_is_forged() {
        let forged = Tokens::with_key(b"another key, as long").sign(&waiting());
        assert_eq!(Tokens::with_key(b"a key of 16 bytes").verify(&forged), None);
        // A signature of the same bytes for another purpose.
        let other = Hmac::<Sha256>::new_from_slice(b"a key of 16 bytes").unwrap();
        let named = [&[0; HEAD_BYTES][..], b"step"].concat();
        let signature = other.chain_update(&named).finalize().into_bytes();
        let token = URL_SAFE_NO_PAD.encode([&named[..], &signature].concat());
        assert_eq!(Tokens::with_key(b"a key of 16 bytes").verify(&token), None);
    }

    #[test]
    fn the_key_is_the_secret_where_there_is_one_that_is_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = Tokens::new(folder.path()).sign(&waiting());
        assert_eq!(Tokens::new(folder.path()).verify(&drawn), None);
        std::fs::write(folder.path().join(KEY), "short\n").unwrap();
        let drawn = Tokens::new(folder.path()).sign(&waiting());
        assert_eq!(Tokens::with_key(b"short").verify(&drawn), None);
        std::fs::write(folder.path().join(KEY), "a key of 16 bytes\n").unwrap();
        let token = Tokens::new(folder.path()).sign(&waiting());
        let other = Tokens::with_key(b"a key of 16 bytes");
        assert_eq!(other.verify(&token), Some(waiting()));
    }
}
