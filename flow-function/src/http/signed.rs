//! Flows that take signed calls alone: who signed, what, and when (RFC 9421).
//!
//! Invariants: what of a call counts is signed: method, path, query, body, and each header that is sent
//! and means something here; a signature begins one request, at whichever replica, since its nonce names
//! that request; a body is read only once the signature holds. There is no key but those of the operator.

use std::io::ErrorKind;
use std::path::Path;

use axum::http::{HeaderMap, StatusCode, Uri};
use turlough_sdk::signature::{Signature, SignatureError, VerifyingKey, check_content_digest};
use turlough_sdk::{Flow, FunctionName};

use super::call::CALLBACKS;
use super::problem::Problem;
use crate::clock::now_us;
use crate::engine::{CallKey, Engine};

/// Names of keys' secrets begin so.
const KEY: &str = "turlough-signing-key-";
/// How old a signature may be that does not say when it ends, and how long one may last, in seconds.
const AGE_S_MAX: u64 = 300;
const LIFE_S_MAX: u64 = 86_400;
/// How far ahead a caller's clock may be, in seconds.
const AHEAD_S_MAX: u64 = 60;

/// What each call has to sign.
const COVERED: [&str; 4] = ["@method", "@path", "@query", "content-digest"];
/// What it has to sign where it sends it, beside what says whom to call back and what the flow records.
const COVERED_IF_SENT: [&str; 3] = ["content-type", "prefer", "x-callback-url"];

/// A call whose head is signed as it has to be.
#[derive(Debug)]
pub(super) struct Signed {
    signature: Signature,
    /// What the body has to be.
    digest: String,
}

impl Signed {
    /// The key of the call, once its body was seen to be the one that was signed.
    pub(super) fn key(self, body: &[u8]) -> Result<CallKey, Problem> {
        check_content_digest(&self.digest, body).map_err(refused)?;
        Ok(CallKey::Signature {
            until_s: ends_s(&self.signature),
            key_id: self.signature.key_id,
            nonce: self.signature.nonce,
        })
    }
}

/// Checks all of a call but its body.
pub(super) async fn check(
    engine: &Engine,
    flow: &Flow,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Signed, Problem> {
    if headers.contains_key("idempotency-key") {
        let text = "a signed flow takes no Idempotency-Key: the nonce of the signature is the request's; leave the header out";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let (input, bytes) = (
        field(headers, "signature-input"),
        field(headers, "signature"),
    );
    let (Some(input), Some(bytes)) = (input, bytes) else {
        return Err(refused("it has no Signature and Signature-Input"));
    };
    let signature = Signature::parse(&input, &bytes).map_err(refused)?;
    all_covered(&signature, flow, headers)?;
    in_time(&signature, now_us() / 1_000_000)?;
    let settings = &engine.shared.settings;
    let key = key(&settings.secrets, &signature.key_id).await?;
    let mut checked = Err(SignatureError::Wrong);
    for path in paths(uri.path(), &settings.function) {
        let component = |name: &str| match name {
            // No other method comes here.
            "@method" => Some("POST".to_owned()),
            "@path" => Some(path.clone()),
            "@query" => Some(format!("?{}", uri.query().unwrap_or_default())),
            name if name.starts_with('@') => None,
            name => field(headers, name),
        };
        checked = signature.verify(&key, component);
        if checked != Err(SignatureError::Wrong) {
            break;
        }
    }
    checked.map_err(refused)?;
    Ok(Signed {
        digest: field(headers, "content-digest").unwrap_or_default(),
        signature,
    })
}

/// Why a call is refused that is not signed as it has to be.
pub(super) fn refused(reason: impl std::fmt::Display) -> Problem {
    let text =
        format!("this flow takes signed calls alone (RFC 9421), and this one is refused: {reason}");
    Problem::new(StatusCode::UNAUTHORIZED, &text).challenged_by("Signature")
}

fn all_covered(signature: &Signature, flow: &Flow, headers: &HeaderMap) -> Result<(), Problem> {
    let callbacks = CALLBACKS.iter().map(|(name, _)| *name);
    let recorded = flow.headers().iter().map(String::as_str);
    let sent = callbacks.chain(recorded).chain(COVERED_IF_SENT);
    let sent = sent.filter(|name| headers.contains_key(*name));
    let uncovered: Vec<_> = COVERED
        .into_iter()
        .chain(sent)
        .filter(|name| !signature.covers(name))
        .collect();
    match uncovered.is_empty() {
        true => Ok(()),
        false => Err(refused(format!(
            "its signature does not cover {}",
            uncovered.join(", ")
        ))),
    }
}

fn in_time(signature: &Signature, now_s: u64) -> Result<(), Problem> {
    let created_s = signature.created_s;
    if created_s > now_s.saturating_add(AHEAD_S_MAX) {
        let text = format!("its signature was created {} s from now", created_s - now_s);
        return Err(refused(text));
    }
    let expires_s = ends_s(signature);
    if expires_s > created_s.saturating_add(LIFE_S_MAX) {
        let text = format!("its signature would last for more than {LIFE_S_MAX} s");
        return Err(refused(text));
    }
    if expires_s < now_s {
        let text = format!(
            "its signature is {} s old and ended {} s ago; sign it anew",
            now_s.saturating_sub(created_s),
            now_s - expires_s
        );
        return Err(refused(text));
    }
    Ok(())
}

fn ends_s(signature: &Signature) -> u64 {
    let created_s = signature.created_s;
    signature
        .expires_s
        .unwrap_or(created_s.saturating_add(AGE_S_MAX))
}

/// A key, read at each use, so that a changed secret counts at once.
async fn key(secrets: &Path, id: &str) -> Result<VerifyingKey, Problem> {
    let is_name = (1..=63).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let unknown = || {
        refused(format!(
            "key {id:?} is unknown; its secret would be {KEY}{id}"
        ))
    };
    if !is_name {
        return Err(refused(
            "the name of its key is not of 1 to 63 lower-case letters, digits and -",
        ));
    }
    let broken = |error: &dyn std::fmt::Display| {
        tracing::error!(key = id, %error, "signing key cannot be used");
        let text = format!("secret {KEY}{id} of this function cannot be used");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, &text)
    };
    match tokio::fs::read(secrets.join(format!("{KEY}{id}"))).await {
        Ok(text) => VerifyingKey::read(&text).map_err(|error| broken(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown()),
        Err(error) => Err(broken(&error)),
    }
}

/// A header's value as it is signed: its lines, trimmed, joined by commas.
fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Option<Vec<_>> = headers
        .get_all(name)
        .iter()
        .map(|line| line.to_str().ok().map(str::trim))
        .collect();
    lines
        .filter(|lines| !lines.is_empty())
        .map(|lines| lines.join(", "))
}

/// The paths that a caller may have signed: as they reach this function, and as they reach its gateway.
fn paths(path: &str, function: &FunctionName) -> Vec<String> {
    let mut paths = vec![path.to_owned()];
    let full = function.as_str();
    let short = full.split_once('.').map_or(full, |(name, _)| name);
    let names = if short == full {
        vec![full]
    } else {
        vec![full, short]
    };
    for route in ["function", "async-function"] {
        for name in &names {
            let whole = format!("/{route}/{name}{path}");
            // A gateway adds the slash of `/function/flows`.
            if path == "/" {
                paths.push(whole.trim_end_matches('/').to_owned());
            }
            paths.push(whole);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_signed_as_the_caller_knows_it() {
        let names = |path, function: &str| paths(path, &function.parse().unwrap());
        assert_eq!(
            names("/order", "flows"),
            [
                "/order",
                "/function/flows/order",
                "/async-function/flows/order"
            ]
        );
        let of_root = names("/", "flows.etl");
        for path in [
            "/",
            "/function/flows.etl",
            "/function/flows/",
            "/async-function/flows",
        ] {
            assert!(
                of_root.iter().any(|found| found == path),
                "{path}: {of_root:?}"
            );
        }
    }
}
