//! How streams and consumers are set, and whether those that are there are set so.
//!
//! Invariant: what is there is never changed. Fields are compared as JSON, by the names that the
//! server and its tools give them; a field that we know nothing of must be as it is by default, since
//! a mirror, a transform or a discard of another kind would break promises silently.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Failure, call, code};
use super::connection::Connection;
use super::names::{Bucket, Names};
use crate::error::StateError;
use crate::state::{Options, Storage};

/// Window in which a server remembers message ids: we send none.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);
/// Bytes of a queue's stream: a share of the logs' own, since a hint is small beside its log.
const WORK_SHARE: u64 = 4;
/// Bytes of a queue's stream at least: a few thousand small invocations.
const WORK_BYTES_MIN: u64 = 16 << 20;
/// Bytes of a bucket: thousands of definitions, or heartbeats of tens of thousands of replicas.
const BUCKET_BYTES_MAX: u64 = 64 << 20;
/// Items of a queue that are taken or put off: as many timers as a server runs without being noticed.
const ACK_PENDING_MAX: u64 = 100_000;
/// Takers that may wait on one queue at once: several for each replica of a large function.
const WAITING_MAX: u64 = 4096;

/// Fields that change nothing of what we rely on.
const FREE: [&str; 6] = [
    "metadata",
    "description",
    "placement",
    "compression",
    "consumer_limits",
    "name",
];

type Settings = Map<String, Value>;

#[derive(Deserialize)]
struct Info {
    config: Settings,
}

/// Makes the streams of a tenant that are not there, and compares those that are.
pub(super) async fn ensure_streams(
    connection: &Connection,
    names: &Names,
    options: &Options,
) -> Result<(), StateError> {
    for settings in [
        log(names, options),
        work(names, options),
        bucket(&names.flows(), None, options),
        bucket(&names.replicas(), Some(options.heartbeat), options),
    ] {
        ensure_stream(connection, &settings).await?;
    }
    Ok(())
}

async fn ensure_stream(connection: &Connection, expected: &Settings) -> Result<(), StateError> {
    let name = expected["name"].as_str().unwrap_or_default();
    let thing = format!("stream {name} at {}", connection.servers());
    let (info, create) = (
        format!("STREAM.INFO.{name}"),
        format!("STREAM.CREATE.{name}"),
    );
    let absent = [code::STREAM_NOT_FOUND];
    let body = Value::Object(expected.clone());
    let found = ensure(
        connection,
        &info,
        &absent,
        &create,
        &body,
        &[code::STREAM_EXISTS],
    )
    .await;
    let found = found.map_err(|failure| not_made(failure, &thing, expected))?;
    compare(&thing, "nats stream edit", expected, &found)
}

/// Makes the consumer of a queue where it is not there, and compares it where it is.
pub(super) async fn ensure_consumer(
    connection: &Connection,
    stream: &str,
    name: &str,
    subject: &str,
    visibility: Duration,
) -> Result<(), StateError> {
    let thing = format!(
        "consumer {name} of stream {stream} at {}",
        connection.servers()
    );
    let expected = consumer(name, subject, visibility);
    let body = json!({"stream_name": stream, "config": expected, "action": "create"});
    let info = format!("CONSUMER.INFO.{stream}.{name}");
    let create = format!("CONSUMER.CREATE.{stream}.{name}.{subject}");
    let absent = [code::CONSUMER_NOT_FOUND];
    let found = ensure(
        connection,
        &info,
        &absent,
        &create,
        &body,
        &code::CONSUMER_EXISTS,
    )
    .await;
    let found = found.map_err(|failure| not_made(failure, &thing, &expected))?;
    compare(&thing, "nats consumer edit", &expected, &found)
}

/// What is there, or was just made. Others may make it at the same time.
async fn ensure(
    connection: &Connection,
    info: &str,
    absent: &[u32],
    create: &str,
    body: &Value,
    exists: &[u32],
) -> Result<Settings, Failure> {
    match call::<Info>(connection, info, &json!({})).await {
        Err(failure) if absent.contains(&failure.code()) => {}
        found => return found.map(|info| info.config),
    }
    match call::<Info>(connection, create, body).await {
        Err(failure) if exists.contains(&failure.code()) => {
            let info = call::<Info>(connection, info, &json!({})).await?;
            Ok(info.config)
        }
        made => made.map(|info| info.config),
    }
}

fn not_made(failure: Failure, thing: &str, expected: &Settings) -> StateError {
    let attempted = format!("making {thing}");
    match failure {
        Failure::Api(error) if error.is_full() => StateError::Refused {
            attempted,
            reason: format!(
                "{error}; it reserves {} bytes: lower TURLOUGH_STATE_BYTES_MAX, or raise the limits \
                 of the server or the account",
                expected.get("max_bytes").unwrap_or(&Value::Null)
            ),
        },
        // Once more does no harm: what is there is compared.
        failure => failure.of_read(attempted),
    }
}

fn log(names: &Names, options: &Options) -> Settings {
    let subject = format!("{}*", names.log_prefix());
    stream(
        &names.log_stream(),
        &subject,
        options,
        options.bytes_max,
        Some(options.max_age),
        json!({}),
    )
}

fn work(names: &Names, options: &Options) -> Settings {
    let subject = format!("{}*", names.work_prefix());
    let bytes_max = (options.bytes_max / WORK_SHARE).max(WORK_BYTES_MIN);
    // What nobody took for as long as a log lives is of no use to anybody.
    let more = json!({"retention": "workqueue", "allow_direct": false});
    stream(
        &names.work_stream(),
        &subject,
        options,
        bytes_max,
        Some(options.max_age),
        more,
    )
}

fn bucket(bucket: &Bucket, lifetime: Option<Duration>, options: &Options) -> Settings {
    let subject = format!("{}>", bucket.prefix);
    let more = json!({"max_msgs_per_subject": 1, "allow_rollup_hdrs": true, "deny_delete": true});
    stream(
        &bucket.stream,
        &subject,
        options,
        BUCKET_BYTES_MAX,
        lifetime,
        more,
    )
}

/// The settings of a stream that differ from stream to stream, over those that do not.
fn stream(
    name: &str,
    subject: &str,
    options: &Options,
    bytes_max: u64,
    max_age: Option<Duration>,
    more: Value,
) -> Settings {
    let max_age = max_age.unwrap_or_default();
    let window = if max_age.is_zero() {
        DUPLICATE_WINDOW
    } else {
        DUPLICATE_WINDOW.min(max_age)
    };
    let storage = match options.storage {
        Storage::File => "file",
        Storage::Memory => "memory",
    };
    let mut settings = object(json!({
        "name": name,
        "subjects": [subject],
        "retention": "limits",
        "discard": "new",
        "storage": storage,
        "num_replicas": options.replicas,
        "max_age": nanos(max_age),
        "max_bytes": bytes_max,
        "duplicate_window": nanos(window),
        "allow_direct": true,
    }));
    settings.extend(object(more));
    settings
}

fn consumer(name: &str, subject: &str, visibility: Duration) -> Settings {
    object(json!({
        "name": name,
        "durable_name": name,
        "filter_subject": subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": nanos(visibility),
        "max_deliver": -1,
        "replay_policy": "instant",
        "max_waiting": WAITING_MAX,
        "max_ack_pending": ACK_PENDING_MAX,
    }))
}

fn object(value: Value) -> Settings {
    match value {
        Value::Object(settings) => settings,
        _ => Settings::new(),
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Names the first field that is not as it must be.
fn compare(
    thing: &str,
    tool: &str,
    expected: &Settings,
    found: &Settings,
) -> Result<(), StateError> {
    let refused = |field: &str, found: &Value, expected: &str| {
        let setting = match field {
            "max_bytes" => ", or set TURLOUGH_STATE_BYTES_MAX to what is there",
            _ => "",
        };
        Err(StateError::Refused {
            attempted: format!("using {thing}"),
            reason: format!(
                "its {field} is {found}, expected {expected}; change it with `{tool}`, or delete it \
                 and what it holds{setting}"
            ),
        })
    };
    for (field, value) in expected {
        // A server leaves out what is as it is by default.
        let found = found.get(field).unwrap_or(&Value::Null);
        if found != value && !(is_default(found) && is_default(value)) {
            return refused(field, found, &value.to_string());
        }
    }
    for (field, value) in found {
        let is_free = FREE.contains(&field.as_str()) || expected.contains_key(field);
        if !is_free && !is_default(value) {
            return refused(field, value, "none");
        }
    }
    Ok(())
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => matches!(number.as_i64(), Some(0 | -1)),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("acme".parse().unwrap(), "flows".parse().unwrap())
    }

    #[track_caller]
    fn check(field: &str, value: Value, expect: Option<&str>) {
        let expected = log(&Names::of(&options().tenant), &options());
        let mut found = expected.clone();
        found.extend(object(
            json!({"max_msgs": -1, "sealed": false, "consumer_limits": {}}),
        ));
        found.insert(field.to_owned(), value);
        let error = compare("stream X", "nats stream edit", &expected, &found).err();
        let reason = error.map(|error| error.to_string());
        match (reason, expect) {
            (None, None) => {}
            (Some(reason), Some(expect)) => assert!(reason.contains(expect), "{reason}"),
            (reason, expect) => panic!("{reason:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn other_settings_are_refused_by_the_name_of_the_field() {
        check("metadata", json!({"_nats.ver": "2.14.6"}), None);
        check("compression", json!("s2"), None);
        check(
            "max_age",
            json!(5),
            Some("its max_age is 5, expected 604800000000000; change it"),
        );
        check(
            "discard",
            json!("old"),
            Some("its discard is \"old\", expected \"new\""),
        );
        check("max_bytes", json!(7), Some("set TURLOUGH_STATE_BYTES_MAX"));
        check(
            "max_msgs",
            json!(1000),
            Some("its max_msgs is 1000, expected none"),
        );
        check(
            "persist_mode",
            json!("async"),
            Some("its persist_mode is \"async\", expected none"),
        );
        check("mirror", json!({"name": "Y"}), Some("its mirror is"));
        check(
            "allow_direct",
            Value::Null,
            Some("its allow_direct is null, expected true"),
        );
    }
}
