//! The encoding of the log is held by files that a blessed run wrote: a log that an older version has
//! written is read by every later one.
//!
//! `BLESS=1 cargo test -p turlough-statestore --test golden` writes files that are missing, and never
//! changes one that is there: delete it first, and raise the format where its old form was released.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod samples;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rmpv::Value;
use samples::{append, every_sample};
use turlough_sdk::RequestId;
use turlough_statestore::{Append, Event, Seq};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/files")
}

fn request() -> RequestId {
    RequestId::from_uuid(uuid::Uuid::from_u128(0x51))
}

fn decode(bytes: &[u8]) -> Result<Append, String> {
    Append::decode(request(), Seq::START, bytes).map_err(|error| error.to_string())
}

fn golden(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.msgpack"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run with BLESS=1", path.display()))
}

fn bless(name: &str, sample: &Append) {
    let path = folder().join(format!("{name}.msgpack"));
    if path.exists() {
        return;
    }
    let bytes = sample.encode(request()).unwrap();
    fs::create_dir_all(folder()).unwrap();
    fs::write(
        folder().join(format!("{name}.txt")),
        tree::dump(&tree::read(&bytes)),
    )
    .unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_event_is_read_from_its_file_and_written_to_the_same_bytes() {
    for (name, sample) in every_sample() {
        if std::env::var_os("BLESS").is_some() {
            bless(&name, &sample);
        }
        let bytes = golden(&name);
        assert_eq!(
            decode(&bytes).as_ref(),
            Ok(&sample),
            "{name} is read as something else"
        );
        assert_eq!(
            sample.encode(request()).unwrap(),
            bytes,
            "{name} is written otherwise"
        );
        let text = fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        assert_eq!(
            tree::dump(&tree::read(&bytes)),
            text,
            "{name}.txt shows something else"
        );
    }
}

#[test]
fn every_file_has_its_sample() {
    let samples: BTreeSet<_> = every_sample().into_iter().map(|(name, _)| name).collect();
    let files: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(samples, files);
}

#[test]
fn every_struct_is_a_map_and_every_name_is_in_snake_case() {
    // Lists, and pairs in lists; anything else that is an array is a struct without names.
    let lists = [
        "events",
        "query",
        "headers",
        "callbacks",
        "trouble",
        "owed",
        "set",
        "cases",
        "moved",
        "stores",
    ];
    let snake = |name: &str| {
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    for (name, _) in every_sample() {
        let tree = tree::read(&golden(&name));
        tree::visit(&tree, &mut |path, value| match value {
            Value::Array(_) => {
                let field = path
                    .iter()
                    .rev()
                    .find(|part| part.parse::<usize>().is_err());
                let list = field.is_some_and(|field| lists.contains(&field.as_str()));
                assert!(list, "{name}: {path:?} is an array");
            }
            Value::Map(members) => {
                for (key, _) in members {
                    let key = key.as_str().unwrap();
                    assert!(snake(key), "{name}: {path:?} has {key}");
                }
            }
            _ => {}
        });
    }
}

#[test]
fn a_field_that_a_later_version_adds_is_ignored() {
    for (name, sample) in every_sample() {
        let tree = tree::read(&golden(&name));
        let structs = tree::structs(&tree);
        assert!(structs.len() >= 2, "{name} has an append and an envelope");
        for path in structs {
            let mut tree = tree.clone();
            if let Value::Map(members) = tree::at(&mut tree, &path) {
                members.insert(0, ("later".into(), Value::Array(vec![1.into()])));
            }
            assert_eq!(
                decode(&tree::write(&tree)),
                Ok(sample.clone()),
                "{name}: {path:?}"
            );
        }
    }
}

#[test]
fn a_field_that_an_earlier_version_did_not_have_has_its_default() {
    // Added after the first version; whoever adds a field adds it here.
    let added = [
        "set",
        "moved",
        "call_id",
        "delivery",
        "trace",
        "is_openfaas",
        "again_us",
    ];
    let mut left: BTreeSet<_> = added.into();
    for (name, _) in every_sample() {
        let whole = tree::read(&golden(&name));
        for path in tree::structs(&whole) {
            for field in added {
                let mut tree = whole.clone();
                let Value::Map(members) = tree::at(&mut tree, &path) else {
                    continue;
                };
                let before = members.len();
                members.retain(|(key, _)| key.as_str() != Some(field));
                if members.len() == before {
                    continue;
                }
                let older = decode(&tree::write(&tree));
                let older = older.unwrap_or_else(|error| panic!("{name} without {field}: {error}"));
                match &older.events[0] {
                    Event::StepEnded(ended) => {
                        assert!(ended.set.is_empty() && ended.again_us.is_none());
                    }
                    Event::Snapshot(snapshot) => assert!(snapshot.moved.is_empty()),
                    Event::Accepted(accepted) => assert!(match field {
                        "call_id" => accepted.call_id.is_none(),
                        "delivery" => accepted.delivery.is_none(),
                        "trace" => accepted.trace.is_none(),
                        _ => !accepted.callbacks[0].is_openfaas,
                    }),
                    other => panic!("{name} has no {field}: {other:?}"),
                }
                left.remove(field);
            }
        }
    }
    assert!(left.is_empty(), "no file holds {left:?}");
}

#[test]
fn a_newer_format_is_refused_by_its_number_whatever_follows() {
    let (_, sample) = every_sample().swap_remove(0);
    let mut tree = tree::read(&sample.encode(request()).unwrap());
    let members = |tree: &mut Value| match tree {
        Value::Map(members) => members.clone(),
        other => panic!("{other:?}"),
    };
    let mut newer = members(&mut tree);
    newer[0] = ("format".into(), 2.into());
    let strange = vec![
        ("format".into(), 7.into()),
        ("events".into(), "none".into()),
    ];
    for (members, number) in [(newer, 2), (strange, 7)] {
        let error = decode(&tree::write(&Value::Map(members))).unwrap_err();
        let wanted = format!("format {number}, this version reads up to 1");
        assert!(error.contains(&wanted), "{error}");
    }
}

#[test]
fn an_event_of_a_later_version_is_refused_and_named() {
    let sample = append(Event::Settled { at_us: 1 });
    let mut tree = tree::read(&sample.encode(request()).unwrap());
    let path = ["events".to_owned(), "0".to_owned()];
    if let Value::Map(members) = tree::at(&mut tree, &path) {
        members[0].0 = "evaporated".into();
    }
    let error = decode(&tree::write(&tree)).unwrap_err();
    assert!(error.contains("evaporated"), "{error}");
}
