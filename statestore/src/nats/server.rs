//! What a server must be able to do.

use serde_json::{Value, json};

use super::api::{Failure, call, code};
use super::connection::Connection;
use crate::append::APPEND_BYTES_MAX;
use crate::error::StateError;

/// The first version whose expected sequences hold over a change of leader, and that reads a whole
/// log by one request.
const VERSION_MIN: [u32; 2] = [2, 11];
/// The header of an append, with room to spare.
const HEADER_BYTES_MAX: usize = 1024;

/// Looks at the server that answers now.
pub(super) async fn check(connection: &Connection) -> Result<(), StateError> {
    let info = connection.client().server_info();
    let attempted = format!("using the NATS server at {}", connection.servers());
    if let Some(reason) = complaint(&info.version, info.max_payload) {
        return Err(StateError::Refused { attempted, reason });
    }
    match call::<Value>(connection, "INFO", &json!({})).await {
        Ok(_) => Ok(()),
        Err(Failure::Nobody) => Err(not_enabled(attempted, "nobody answers for JetStream")),
        Err(failure) if code::NOT_ENABLED.contains(&failure.code()) => Err(not_enabled(
            attempted,
            "JetStream is not enabled for this account",
        )),
        Err(failure) => Err(failure.of_read(attempted)),
    }
}

fn not_enabled(attempted: String, found: &str) -> StateError {
    StateError::Refused {
        attempted,
        reason: format!("{found}; start nats-server with -js, or enable jetstream for the account"),
    }
}

/// What is wrong with a server of this version and limit.
fn complaint(version: &str, max_payload: usize) -> Option<String> {
    let [major, minor] = VERSION_MIN;
    let needed = APPEND_BYTES_MAX + HEADER_BYTES_MAX;
    match parse(version) {
        Some(found) if found >= VERSION_MIN => (max_payload < needed).then(|| {
            format!("its max_payload is {max_payload} bytes, needed are {needed}; raise it")
        }),
        _ => Some(format!(
            "its version is {version:?}, needed is {major}.{minor} or newer; replace it"
        )),
    }
}

/// Major and minor version.
fn parse(version: &str) -> Option<[u32; 2]> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    Some([parts.next()?.parse().ok()?, parts.next()?.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_or_too_narrow_is_refused_by_what_was_found() {
        let megabyte = 1 << 20;
        for version in [
            "2.11.0",
            "2.14.6",
            "v2.15.1",
            "2.12.0-RC.3",
            "3.0.0",
            "2.11",
        ] {
            assert_eq!(complaint(version, megabyte), None, "{version}");
        }
        for version in ["2.9.10", "2.10.27", "1.4.1", "", "2", "next"] {
            let text = complaint(version, megabyte).unwrap();
            assert!(
                text.contains(&format!("{version:?}, needed is 2.11")),
                "{text}"
            );
        }
        let text = complaint("2.14.6", 65536).unwrap();
        assert!(
            text.contains("max_payload is 65536 bytes, needed are 525312"),
            "{text}"
        );
    }
}
