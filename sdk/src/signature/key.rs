//! Keys: a secret that both sides know (HMAC-SHA256), or a pair of which the checker has the public half
//! (Ed25519).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::Sha256;

/// Shortest shared secret, in bytes: as much as its signatures have.
pub const KEY_BYTES_MIN: usize = 32;
/// What stands before the 32 bytes of a public key in its DER form (RFC 8410).
const ED25519_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A shared secret that can be guessed.
    #[error(
        "a shared secret of {found} bytes is too short, it has at least {KEY_BYTES_MIN}; make one with `openssl rand -base64 32`"
    )]
    Short {
        /// Its length.
        found: usize,
    },
    /// A PEM file of something else.
    #[error("it is no PEM file of {wanted}; make a pair with `openssl genpkey -algorithm ed25519`")]
    Pem {
        /// What it should be of.
        wanted: &'static str,
    },
}

/// What signs.
pub struct SigningKey {
    id: String,
    kind: Signs,
}

enum Signs {
    Shared(Box<Hmac<Sha256>>),
    Ed25519(Ed25519KeyPair),
}

/// What checks signatures.
pub struct VerifyingKey(Checks);

enum Checks {
    Shared(Box<Hmac<Sha256>>),
    Ed25519([u8; 32]),
}

impl SigningKey {
    /// A key under the name that its checker knows: a private key of Ed25519 as PEM (PKCS #8), or a shared
    /// secret of at least [`KEY_BYTES_MIN`] bytes, without the white space around it.
    ///
    /// # Errors
    /// A secret that is too short; PEM of something else.
    pub fn read(id: &str, text: &[u8]) -> Result<Self, KeyError> {
        let kind = if is_pem(text) {
            let wrong = KeyError::Pem {
                wanted: "a private key of Ed25519",
            };
            let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| wrong.clone())?;
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
            Signs::Ed25519(pair.map_err(|_| wrong)?)
        } else {
            Signs::Shared(shared(text)?)
        };
        let id = id.to_owned();
        Ok(Self { id, kind })
    }

    /// The name that its checker knows.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn algorithm(&self) -> &'static str {
        match self.kind {
            Signs::Shared(_) => "hmac-sha256",
            Signs::Ed25519(_) => "ed25519",
        }
    }

    pub(super) fn signature(&self, message: &[u8]) -> Vec<u8> {
        match &self.kind {
            Signs::Shared(key) => {
                let mut signing = (**key).clone();
                signing.update(message);
                signing.finalize().into_bytes().to_vec()
            }
            Signs::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl VerifyingKey {
    /// A public key of Ed25519 as PEM, or a shared secret of at least [`KEY_BYTES_MIN`] bytes, without the
    /// white space around it.
    ///
    /// # Errors
    /// A secret that is too short; PEM of something else.
    pub fn read(text: &[u8]) -> Result<Self, KeyError> {
        if !is_pem(text) {
            return Ok(Self(Checks::Shared(shared(text)?)));
        }
        let wrong = KeyError::Pem {
            wanted: "a public key of Ed25519",
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| wrong.clone())?;
        let key = der
            .strip_prefix(&ED25519_HEAD)
            .and_then(|key| key.try_into().ok());
        Ok(Self(Checks::Ed25519(key.ok_or(wrong)?)))
    }

    pub(super) const fn algorithm(&self) -> &'static str {
        match self.0 {
            Checks::Shared(_) => "hmac-sha256",
            Checks::Ed25519(_) => "ed25519",
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Checks::Shared(key) => {
                let mut signing = (**key).clone();
                signing.update(message);
                signing.verify_slice(signature).is_ok()
            }
            Checks::Ed25519(key) => {
                let key = UnparsedPublicKey::new(&ED25519, key);
                key.verify(message, signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?}, {})", self.id, self.algorithm())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm())
    }
}

fn is_pem(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"-----BEGIN")
}

fn shared(text: &[u8]) -> Result<Box<Hmac<Sha256>>, KeyError> {
    let secret = text.trim_ascii();
    let found = secret.len();
    if found < KEY_BYTES_MIN {
        return Err(KeyError::Short { found });
    }
    let key = Hmac::new_from_slice(secret);
    key.map(Box::new).map_err(|_| KeyError::Short { found })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// RFC 9421, B.1.5 and B.2.5. That secret ends with a line's end, which files' ends are not told from.
    #[test]
    fn a_shared_secret_signs_as_the_rfc_shows() {
        let secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
        let secret = STANDARD.decode(secret).unwrap();
        let base = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\"content-type\": application/json\n\"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
        let key = Box::new(Hmac::new_from_slice(&secret).unwrap());
        let (id, kind) = ("test-shared-secret".to_owned(), Signs::Shared(key.clone()));
        let signature = SigningKey { id, kind }.signature(base.as_bytes());
        let expected = "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=";
        assert_eq!(STANDARD.encode(&signature), expected);
        assert!(VerifyingKey(Checks::Shared(key)).verify(base.as_bytes(), &signature));
    }
}
