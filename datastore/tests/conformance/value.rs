//! Values: what is read back, and what is written once.

use std::collections::HashSet;

use turlough_datastore::data::{GetError, PutError, Stored};
use turlough_sdk::{Digest, ValueRef};

use crate::server::{LONG, Server, bytes, key, request, stored};

pub(crate) async fn reads_back_what_was_put<S: Server>() {
    let server = S::start(LONG).await;
    let (writer, reader) = (server.open().await, server.open().await);
    let one = request();
    for (n, len) in [0, 5 << 10, 64 << 10, 20 << 20].into_iter().enumerate() {
        let (key, value) = (key(one, &format!("1/load/{n}")), bytes(7, len));
        let at = writer.put(one, 1, &key, value.clone()).await.unwrap();
        let ValueRef::Stored {
            store,
            key: said,
            size,
            digest,
            ..
        } = &at
        else {
            panic!("{at:?}")
        };
        assert_eq!((&**said, *size), (key.as_str(), len as u64));
        assert_eq!(&**store, writer.address());
        assert_eq!(*digest, Digest::of(&value));
        let read = reader.get(one, stored(&at)).await.unwrap();
        assert!(read == value, "{len} bytes");
    }
    let other = writer
        .put(one, 1, &key(one, "a"), bytes(1, 3))
        .await
        .unwrap();
    // What is asked for is not what is there.
    let wrong = Stored {
        digest: Digest(1),
        ..stored(&other)
    };
    let error = reader.get(one, wrong).await.unwrap_err();
    assert!(matches!(error, GetError::Corrupt { .. }), "{error}");
    let name = key(one, "none");
    let none = Stored {
        key: &name,
        ..stored(&other)
    };
    let error = reader.get(one, none).await.unwrap_err();
    assert!(matches!(error, GetError::Lost { .. }), "{error}");
}

pub(crate) async fn the_same_bytes_succeed_again_and_others_are_refused<S: Server>() {
    let server = S::start(LONG).await;
    let (store, other) = (server.open().await, server.open().await);
    for len in [3, 100_000] {
        let one = request();
        let key = key(one, "a");
        let first = store.put(one, 1, &key, bytes(1, len)).await.unwrap();
        let again = other.put(one, 1, &key, bytes(1, len)).await.unwrap();
        assert_eq!(again, first);
        let higher = other.put(one, 2, &key, bytes(1, len)).await.unwrap();
        assert_eq!(higher, first);
        for wrong in [bytes(2, len), bytes(1, len + 1), bytes(1, 0)] {
            let error = other.put(one, 2, &key, wrong).await.unwrap_err();
            assert!(matches!(error, PutError::Exists { .. }), "{error}");
        }
        let read = store.get(one, stored(&first)).await.unwrap();
        assert!(read == bytes(1, len));
    }
}

pub(crate) async fn of_many_writers_of_one_key_exactly_one_wins<S: Server>() {
    let server = S::start(LONG).await;
    let stores = [server.open().await, server.open().await];
    for len in [10, 200_000] {
        let one = request();
        let key = key(one, "1/load/0");
        let writers = (0..16_u8).map(|n| {
            let (store, key) = (stores[usize::from(n) % 2].clone(), key.clone());
            tokio::spawn(async move {
                let put = store.put(one, 1, &key, bytes(n, len)).await;
                match put {
                    Ok(at) => Some((n, at)),
                    Err(PutError::Exists { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let mut won = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            won.extend(writer.await.unwrap());
        }
        let [(n, at)] = &won[..] else {
            panic!("{} won", won.len())
        };
        let read = stores[0].get(one, stored(at)).await.unwrap();
        assert!(read == bytes(*n, len));
    }
}

/// Names that mean something to a shell, a file system, a server or its keys.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        ".",
        "..",
        "../..",
        "../../../../tmp/out",
        "/",
        "//",
        "/etc/passwd",
        "a/b",
        "a//b",
        "a/",
        "a",
        "a%2fb",
        "a=2fb",
        "months[3]/0.4.9f3c21aa",
        "{b}",
        "}",
        "}{",
        "ä",
        "日本/語",
        "🦀",
        "a b",
        " ",
        "a\nb",
        "a\r\nSET x y",
        "a\tb",
        "*",
        "?",
        "~",
        "#1",
        "a#1",
        "\"'`$(x)",
        "\\",
        "-rf",
        ".hidden",
        "CON",
        "nul\u{1}",
        "A",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    // A key is 512 bytes at most, of which braces and id are 38.
    for letter in ["a", "b", "/", "ä", "../"] {
        let mut long = letter.repeat(474 / letter.len());
        long.truncate(474);
        names.push(long);
    }
    names
}

pub(crate) async fn names_of_any_letters_are_apart<S: Server>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let names = names();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    let mut put = Vec::new();
    for name in &names {
        let value = bytes(3, 10 + put.len());
        let at = store.put(one, 1, &key(one, name), value).await;
        put.push(at.unwrap_or_else(|error| panic!("{name:?}: {error}")));
    }
    for (n, at) in put.iter().enumerate() {
        let read = store.get(one, stored(at)).await;
        let read = read.unwrap_or_else(|error| panic!("{:?}: {error}", names[n]));
        assert!(read == bytes(3, 10 + n), "{:?}", names[n]);
    }
    let dropped = store.drop_bucket(one, 1).await.unwrap();
    assert_eq!(dropped.keys, names.len() as u64);
    for at in &put {
        let error = store.get(one, stored(at)).await.unwrap_err();
        assert!(matches!(error, GetError::Lost { .. }), "{error}");
    }
}

pub(crate) async fn a_key_that_is_not_of_its_request_is_refused<S: Server>() {
    let server = S::start(LONG).await;
    let store = server.open().await;
    let (one, other) = (request(), request());
    let long = "a".repeat(475);
    for key in [
        String::new(),
        "a".to_owned(),
        format!("{{{one}}}"),
        key(other, "a"),
        key(one, &long),
        format!("{one}a"),
    ] {
        let error = store.put(one, 1, &key, bytes(1, 1)).await.unwrap_err();
        assert!(matches!(error, PutError::Invalid { .. }), "{key}: {error}");
    }
}
