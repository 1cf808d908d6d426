//! Input that is none: a clear error each, and the connection goes on unless nobody can tell what comes
//! next.

use std::io::Write as _;
use std::net::TcpStream;

use crate::client::{Client, command};
use crate::program::{Store, eventually};

#[test]
fn what_cannot_be_done_is_said_and_the_connection_goes_on() {
    let store = Store::open();
    let mut client = store.client();
    let long = "k".repeat(513);
    for (words, says) in [
        (&["SET", "", "1"][..], "ERR key is empty"),
        (&["GET", &long], "ERR key is 513 bytes, limit 512"),
        (&["BUCKET.DROP", "", "1"], "ERR a bucket's name is"),
        (&["BUCKET.DROP", "r", "-1"], "ERR value is not an integer"),
        (
            &["BUCKET.DROP", "r", "99999999999999999999"],
            "ERR value is not an integer",
        ),
        (
            &["BUCKET.DROP", "r"],
            "ERR wrong number of arguments for 'bucket.drop'",
        ),
        (
            &["SET", "plain", "1", "EPOCH", "1"],
            "ERR an epoch is of a bucket",
        ),
        (&["SET", "{r}a", "1", "EPOCH"], "ERR syntax error"),
        (&["KEEP", "plain", "1"], "ERR this key lies in no bucket"),
        (&["BLOCK.GET", "a", "x"], "ERR value is not an integer"),
        (
            &["BLOCK.GET", "a", "99999999"],
            "ERR wait is 99999999 ms, limit 3600000",
        ),
        (
            &["EXPIRE", "a", "9223372036854775807"],
            "ERR invalid expire time in 'expire'",
        ),
        (
            &["CONFIG", "SET", "a", "b"],
            "ERR settings are the process's own",
        ),
        (&["TENANT.SET", "a", "HARD", "1"], "NOPERM"),
        (&["AUTH", "nobody", "x"], "WRONGPASS"),
    ] {
        let reply = client.say(words);
        assert!(
            reply.starts_with(&format!("(error) {says}")),
            "{words:?}: {reply}"
        );
    }
    // Nothing, and nothing again.
    client.send(b"\r\n*0\r\n*-1\r\nPING\r\n");
    assert_eq!(client.reply().unwrap(), "PONG");
    client.send(b"SET \"a b\" 'c d'\r\nGET \"a b\"\r\n");
    assert_eq!(client.reply().unwrap(), "OK");
    assert_eq!(client.reply().unwrap(), "c d");
}

#[test]
fn what_is_too_large_is_said_with_its_limit_and_nothing_is_put() {
    let store = Store::with(&[], &[("TURLOUGH_STORE_VALUE_BYTES_MAX", "1000000")]);
    let mut client = store.client();
    let long = "k".repeat(513);
    // For a command that takes no value, and for any.
    let large = vec![b'x'; 20_000];
    let reply = client.call(&[b"GET", &large]);
    assert_eq!(
        reply,
        "(error) ERR argument of 'get' is 20000 bytes, limit 16384"
    );
    let larger = vec![b'x'; 1_000_001];
    let reply = client.call(&[b"SET", b"a", &larger]);
    assert!(
        reply.starts_with("(error) ERR value is 1000001 bytes, limit 1000000"),
        "{reply}"
    );
    assert_eq!(client.call(&[b"SET", b"a", &larger[..999_000]]), "OK");
    let reply = client.call(&[b"APPEND", b"a", &larger[..2_000]]);
    assert!(
        reply.starts_with("(error) ERR value would be 1001000 bytes"),
        "{reply}"
    );
    assert_eq!(client.say(&["STRLEN", "a"]), "999000");
    let reply = client.say(&["MGET", "a", "a"]);
    assert!(
        reply.starts_with("(error) ERR values are 1998000 bytes together, limit 1000000"),
        "{reply}"
    );
    let reply = client.call(&[b"ECHO", &large]);
    assert_eq!(
        reply,
        "(error) ERR argument of 'echo' is 20000 bytes, limit 16384"
    );
    // A key that is too long beside a large value: nothing is put.
    let reply = client.call(&[b"SET", long.as_bytes(), &larger[..50_000]]);
    assert!(reply.starts_with("(error) ERR key is 513 bytes"), "{reply}");
    assert_eq!(client.say(&["DBSIZE"]), "1");
}

#[test]
fn where_the_protocol_is_lost_the_connection_ends_with_what_was_wrong() {
    let store = Store::open();
    for (sent, says) in [
        (&b"*2\r\n$3\r\nGET\r\n+a\r\n"[..], "expected '$', got '+'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*99999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
        (b"*1\r\n$4\r\nPINGxx", "does not end with CR LF"),
        (b"GET \"a\r\n", "unbalanced quotes"),
        (&[b'x'; 70_000], "too big inline request"),
    ] {
        let mut client = store.client();
        client.send(sent);
        let reply = client.reply().unwrap();
        assert!(reply.contains(says), "{}: {reply}", sent.escape_ascii());
        assert!(client.is_closed(), "{}", sent.escape_ascii());
    }
}

#[test]
fn a_command_is_the_same_however_it_is_cut() {
    let store = Store::open();
    let value = vec![b'v'; 40_000];
    let mut bytes = command(&[b"SET", b"{r}a", &value, b"EX", b"100"]);
    bytes.extend(command(&[
        b"MSET", b"{r}b", &value, b"c", b"1", b"{r}d", &value,
    ]));
    bytes.extend(command(&[b"STRLEN", b"{r}d"]));
    bytes.extend(b"PING\r\n");
    for portion in [1_usize, 3, 4_096, 16_385, 39_999, bytes.len()] {
        let mut stream = TcpStream::connect(store.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = store.client();
        // One byte at a time only where something is decided.
        let ends = [0..60, 40_000..40_200, bytes.len() - 80..bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let is_near = ends.iter().any(|range| range.contains(&at));
            let len = if is_near { portion } else { portion.max(997) };
            let end = (at + len).min(bytes.len());
            stream.write_all(&bytes[at..end]).unwrap();
            at = end;
        }
        let mut told = Client::over(stream);
        let replies: Vec<_> = (0..4).map(|_| told.reply().unwrap()).collect();
        assert_eq!(replies, ["OK", "OK", "40000", "PONG"], "{portion}");
        assert_eq!(client.say(&["STRLEN", "{r}a"]), "40000");
        assert_eq!(client.say(&["DEL", "{r}a", "{r}b", "c", "{r}d"]), "4");
    }
}

#[test]
fn connections_past_the_bound_are_closed_and_others_served() {
    let store = Store::with(&[], &[("TURLOUGH_STORE_CONNECTIONS_MAX", "50")]);
    let mut clients: Vec<_> = (0..50).map(|_| store.client()).collect();
    assert!(
        clients
            .iter_mut()
            .all(|client| client.say(&["PING"]) == "PONG")
    );
    assert!(store.client().is_closed());
    drop(clients.pop());
    eventually("there is room again", || {
        let mut client = store.client();
        client.send(b"PING\r\n");
        client.reply().is_some()
    });
    assert!(store.metric("turlough_store_connections_refused_total ") >= 1.0);
}

#[test]
fn a_store_ends_when_it_is_asked_to_and_says_meanwhile_that_it_does() {
    let store = Store::with(&[], &[("TURLOUGH_DRAIN", "1s")]);
    assert_eq!(store.get("/_/ready"), "OK");
    let _client = store.client();
    assert!(store.end());
}
