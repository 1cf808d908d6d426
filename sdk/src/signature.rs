//! Signatures of calls by RFC 9421 (HTTP Message Signatures), and digests of bodies by RFC 9530.
//!
//! Invariants: what is checked is rebuilt from the message, never taken from the signature; a key has one
//! algorithm, and no message chooses another; how long a check takes says nothing of the right signature.
//! Absent: parameters of components (`;sf`, `;bs`, `;req`, …), several signatures on one message, RSA,
//! ECDSA.

mod key;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{
    BareItem, Dictionary, InnerList, Item, KeyRef, ListEntry, ListSerializer, Parser, StringRef,
};
use sha2::{Digest as _, Sha256, Sha512};
use uuid::Uuid;

pub use key::{KEY_BYTES_MIN, KeyError, SigningKey, VerifyingKey};

/// Most components that a signature may cover.
const COVERED_MAX: usize = 64;
/// Longest nonce and name of a key, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// How a signature is called that this makes.
const LABEL: &str = "turlough";

/// Why a message's signature, or the digest of its body, cannot be read or does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header does not read as RFC 9421 has it.
    #[error("header {header} cannot be read: {reason}")]
    Malformed {
        /// Which.
        header: &'static str,
        /// Why.
        reason: String,
    },
    /// A parameter that has to be there is missing, or is not what it should be.
    #[error("Signature-Input has no {name} that can be used; {write}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// How it is written.
        write: &'static str,
    },
    /// What is covered cannot be rebuilt.
    #[error("the signature covers {name}, which this message does not have")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The message, its signature or the key is another one.
    #[error("the signature does not fit the message and the key")]
    Wrong,
    /// The body is another one.
    #[error("the body is not the one that Content-Digest names")]
    Body,
}

/// A signature as a message carries it.
#[derive(Debug, Clone)]
pub struct Signature {
    covered: Vec<String>,
    /// When it was made, Unix time in seconds.
    pub created_s: u64,
    /// When it ends, Unix time in seconds.
    pub expires_s: Option<u64>,
    /// Names this signature among those of its key.
    pub nonce: String,
    /// The name of the key that made it.
    pub key_id: String,
    algorithm: Option<String>,
    /// Covered components and parameters, as they are signed.
    params: String,
    bytes: Vec<u8>,
}

/// The headers that a signature adds to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `Signature-Input`.
    pub input: String,
    /// `Signature`.
    pub signature: String,
}

impl Signature {
    /// Reads `Signature-Input` and `Signature`, several lines of either joined by commas.
    ///
    /// # Errors
    /// What is no signature, more than one, or one without `created`, `nonce` and `keyid`.
    pub fn parse(input: &str, signature: &str) -> Result<Self, SignatureError> {
        const INPUT: &str = "Signature-Input";
        let (label, list) = only(INPUT, input)?;
        let ListEntry::InnerList(list) = list else {
            return Err(malformed(INPUT, "it is no list of components"));
        };
        let bytes = match only("Signature", signature)? {
            (name, _) if name != label => {
                let reason = format!("it has no {label:?}, which Signature-Input describes");
                return Err(malformed("Signature", reason));
            }
            (
                _,
                ListEntry::Item(Item {
                    bare_item: BareItem::ByteSequence(bytes),
                    ..
                }),
            ) => bytes,
            _ => {
                return Err(malformed(
                    "Signature",
                    "it is no bytes, written as :base64:",
                ));
            }
        };
        let params = written(&list);
        let text = |name: &'static str, write| {
            let found =
                parameter(&list, name).and_then(|item| Some(item.as_string()?.as_str().to_owned()));
            let found = found.filter(|text| (1..=NAME_BYTES_MAX).contains(&text.len()));
            found.ok_or(SignatureError::Parameter { name, write })
        };
        let time = |name: &'static str| {
            let number = parameter(&list, name)?.as_integer()?;
            u64::try_from(i64::from(number)).ok()
        };
        let created = SignatureError::Parameter {
            name: "created",
            write: "write the time as Unix seconds",
        };
        let expires_s = match parameter(&list, "expires") {
            None => None,
            Some(_) => Some(time("expires").ok_or(SignatureError::Parameter {
                name: "expires",
                write: "write the time as Unix seconds",
            })?),
        };
        Ok(Self {
            created_s: time("created").ok_or(created)?,
            expires_s,
            nonce: text(
                "nonce",
                "write 1 to 128 characters that were not used before",
            )?,
            key_id: text("keyid", "write the name of the key")?,
            algorithm: parameter(&list, "alg")
                .and_then(|item| Some(item.as_string()?.as_str().to_owned())),
            covered: covered(list.items)?,
            params,
            bytes,
        })
    }

    /// Whether a component is signed: `@method`, `@path`, `@query`, or the lower-case name of a header.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.covered.iter().any(|covered| covered == name)
    }

    /// Checks the signature; `component` gives the value of each component, as RFC 9421 has it.
    ///
    /// # Errors
    /// A component that is missing; a signature that does not fit.
    pub fn verify(
        &self,
        key: &VerifyingKey,
        component: impl Fn(&str) -> Option<String>,
    ) -> Result<(), SignatureError> {
        let algorithm = self.algorithm.as_deref();
        if algorithm.is_some_and(|name| name != key.algorithm()) {
            return Err(SignatureError::Wrong);
        }
        let mut base = String::new();
        for name in &self.covered {
            let value =
                component(name).ok_or_else(|| SignatureError::Missing { name: name.clone() })?;
            line(&mut base, name, &value);
        }
        base += &format!("\"@signature-params\": {}", self.params);
        match key.verify(base.as_bytes(), &self.bytes) {
            true => Ok(()),
            false => Err(SignatureError::Wrong),
        }
    }
}

impl SigningKey {
    /// Signs components, each with its value, in their order. `nonce` must not be used again.
    ///
    /// # Errors
    /// A name, the key's own or a nonce that is no visible ASCII.
    pub fn sign(
        &self,
        components: &[(&str, &str)],
        (created_s, expires_s): (u64, Option<u64>),
        nonce: &str,
    ) -> Result<SignatureHeaders, SignatureError> {
        let string =
            |text| StringRef::from_str(text).map_err(|error| malformed("Signature-Input", error));
        let time = |seconds: u64| {
            sfv::Integer::try_from(seconds).map_err(|error| malformed("Signature-Input", error))
        };
        let mut list = ListSerializer::new();
        {
            let mut inner = list.inner_list();
            for (name, _) in components {
                // Components have no parameters.
                drop(inner.bare_item(string(name)?));
            }
            let mut params = inner.finish();
            params = params.parameter(KeyRef::constant("created"), time(created_s)?);
            if let Some(expires_s) = expires_s {
                params = params.parameter(KeyRef::constant("expires"), time(expires_s)?);
            }
            let params = params
                .parameter(KeyRef::constant("nonce"), string(nonce)?)
                .parameter(KeyRef::constant("keyid"), string(self.id())?)
                .parameter(KeyRef::constant("alg"), string(self.algorithm())?);
            let _ = params.finish();
        }
        let params = list.finish().unwrap_or_default();
        let mut base = String::new();
        for (name, value) in components {
            line(&mut base, name, value);
        }
        base += &format!("\"@signature-params\": {params}");
        let bytes = STANDARD.encode(self.signature(base.as_bytes()));
        Ok(SignatureHeaders {
            input: format!("{LABEL}={params}"),
            signature: format!("{LABEL}=:{bytes}:"),
        })
    }
}

impl SigningKey {
    /// The headers that sign a call of a flow which is `signed`: now, for five minutes, and once. `path` is
    /// as it is sent, such as `/function/flows/order`, `query` without its question mark; `headers` are those
    /// that are sent beside, by their lower-case names: `content-type`, `prefer`, whom to call back, and what
    /// the flow records.
    ///
    /// ```
    /// use turlough_sdk::signature::SigningKey;
    ///
    /// let key = SigningKey::read("billing", b"a secret of at least 32 bytes ......")?;
    /// let sent = [("content-type", "application/json")];
    /// let signed = key.sign_call("POST", ("/function/flows/order", ""), &sent, b"{\"n\": 1}")?;
    /// assert_eq!(signed.map(|(name, _)| name), ["content-digest", "signature-input", "signature"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What is no visible ASCII.
    pub fn sign_call(
        &self,
        method: &str,
        (path, query): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<[(&'static str, String); 3], SignatureError> {
        let (digest, query) = (content_digest(body), format!("?{query}"));
        let mut components = vec![
            ("@method", method),
            ("@path", path),
            ("@query", &query),
            ("content-digest", &digest),
        ];
        components.extend_from_slice(headers);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0, |now| now.as_secs());
        let signed = self.sign(&components, (now_s, None), &Uuid::new_v4().to_string())?;
        Ok([
            ("content-digest", digest),
            ("signature-input", signed.input),
            ("signature", signed.signature),
        ])
    }
}

/// `Content-Digest` of a body: its SHA-256.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Checks a body by what `Content-Digest` says of it: each digest that is known here, of which there must be
/// one (`sha-256`, `sha-512`).
///
/// # Errors
/// A header that says nothing known; another body.
pub fn check_content_digest(header: &str, body: &[u8]) -> Result<(), SignatureError> {
    const HEADER: &str = "Content-Digest";
    let digests: Dictionary = Parser::new(header)
        .parse()
        .map_err(|error| malformed(HEADER, error))?;
    let mut is_known = false;
    for (name, digest) in &digests {
        let found = match name.as_str() {
            "sha-256" => Sha256::digest(body).to_vec(),
            "sha-512" => Sha512::digest(body).to_vec(),
            _ => continue,
        };
        let ListEntry::Item(Item {
            bare_item: BareItem::ByteSequence(said),
            ..
        }) = digest
        else {
            return Err(malformed(
                HEADER,
                "a digest is no bytes, written as :base64:",
            ));
        };
        if *said != found {
            return Err(SignatureError::Body);
        }
        is_known = true;
    }
    match is_known {
        true => Ok(()),
        false => Err(malformed(HEADER, "it has neither sha-256 nor sha-512")),
    }
}

/// A line of what is signed.
fn line(base: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(base, "\"{name}\": {value}");
}

/// The one member of a dictionary.
fn only(header: &'static str, text: &str) -> Result<(String, ListEntry), SignatureError> {
    let members: Dictionary = Parser::new(text)
        .parse()
        .map_err(|error| malformed(header, error))?;
    let count = members.len();
    let mut members = members.into_iter();
    match (members.next(), count) {
        (Some((name, member)), 1) => Ok((name.as_str().to_owned(), member)),
        _ => Err(malformed(
            header,
            format!("it has {count} signatures; send one"),
        )),
    }
}

fn parameter<'a>(list: &'a InnerList, name: &str) -> Option<&'a BareItem> {
    list.params.get(name)
}

fn written(list: &InnerList) -> String {
    let mut whole = ListSerializer::new();
    whole.members([&ListEntry::InnerList(list.clone())]);
    whole.finish().unwrap_or_default()
}

fn covered(items: Vec<Item>) -> Result<Vec<String>, SignatureError> {
    const INPUT: &str = "Signature-Input";
    if items.len() > COVERED_MAX {
        let reason = format!("it covers {} components, limit {COVERED_MAX}", items.len());
        return Err(malformed(INPUT, reason));
    }
    let mut names: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        let BareItem::String(name) = item.bare_item else {
            return Err(malformed(INPUT, "a component is no text"));
        };
        let name = name.as_str().to_owned();
        if !item.params.is_empty() {
            let reason = format!("component {name:?} has parameters, which are not known here");
            return Err(malformed(INPUT, reason));
        }
        if names.contains(&name) {
            return Err(malformed(
                INPUT,
                format!("component {name:?} is there twice"),
            ));
        }
        names.push(name);
    }
    Ok(names)
}

fn malformed(header: &'static str, reason: impl ToString) -> SignatureError {
    let reason = reason.to_string();
    SignatureError::Malformed { header, reason }
}

#[cfg(test)]
mod tests;
