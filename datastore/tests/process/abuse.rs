//! Clients that ask for much, announce much, or do nothing: memory stays bounded, and others are served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::{Client, command};
use crate::program::{Store, eventually};
use crate::tls::Secured;

const MIB: u64 = 1 << 20;
/// How long another client may wait for an answer, on a machine that has much else to do.
const SLOW: Duration = Duration::from_secs(10);
/// What another client is to be answered at least.
const ROUNDS_MIN: usize = 50;

/// Tells another client that it is over, however it ended.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has another client work as long as something is done to its store.
fn while_others_are_served<T>(store: &Store, done: impl FnOnce() -> T) -> T {
    let mut client = store.client_as("other");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let (small, large) = ("s".repeat(100), "l".repeat(300_000));
            let mut slowest = Duration::ZERO;
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) || round < ROUNDS_MIN {
                for (key, value) in [("small", &small), ("{r}large", &large)] {
                    let begin = Instant::now();
                    assert_eq!(client.say(&["SET", key, value]), "OK");
                    assert!(client.say(&["GET", key]) == *value, "{key}");
                    slowest = slowest.max(begin.elapsed());
                }
                round += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            slowest
        });
        let result = {
            let _over = Over(&is_over);
            done()
        };
        let slowest = other.join().unwrap();
        assert!(slowest < SLOW, "another client waited for {slowest:?}");
        result
    })
}

/// The store's memory stays below what it was, and so much more.
fn assert_grew_less(store: &Store, before: u64, most: u64) {
    let grew = store.resident_bytes().saturating_sub(before) / MIB;
    assert!(grew < most / MIB, "memory grew by {grew} MiB");
}

#[test]
fn a_million_commands_are_answered_in_order_though_they_are_read_late_and_slowly() {
    const COMMANDS: usize = 1_000_000;
    const MEMORY_MAX: u64 = 200 * MIB;
    // All replies together are more than may lie in memory.
    let value = |n: usize| format!("{:0>900}", n / 3);
    let store = Store::with(&["acme", "other"], &[]);
    let before = store.resident_bytes();
    let mut client = store.client_as("acme");
    let mut wire = client.sender();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = std::thread::spawn(move || {
        for n in 0..COMMANDS {
            let key = format!("key-{}", n / 3 % 100);
            let command = match n % 3 {
                0 => command(&[b"SET", key.as_bytes(), value(n).as_bytes()]),
                1 => format!("GET {key}\r\n").into_bytes(),
                _ => b"PING\r\n".to_vec(),
            };
            wire.write_all(&command).unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    while_others_are_served(&store, || {
        let mut before_ms = usize::MAX;
        eventually("nothing more is taken while nothing is read", || {
            std::thread::sleep(Duration::from_millis(500));
            let now = sent.load(Ordering::Relaxed);
            std::mem::replace(&mut before_ms, now) == now
        });
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < COMMANDS, "all is taken though nothing is read");
        for n in 0..COMMANDS {
            let reply = client.reply().unwrap();
            let is_right = match n % 3 {
                0 => reply == "OK",
                1 => reply == value(n),
                _ => reply == "PONG",
            };
            assert!(is_right, "{n}: {reply}");
            if n % 20_000 == 0 {
                assert_grew_less(&store, before, MEMORY_MAX);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    sending.join().unwrap();
    assert_grew_less(&store, before, MEMORY_MAX);
}

#[test]
fn what_is_announced_and_never_sent_costs_little_and_is_given_back() {
    const ANNOUNCED: u64 = 400_000_000;
    // A quarter may be in flight: what 62 of them announce.
    let bytes_max = [("TURLOUGH_STORE_BYTES_MAX", "100000000000")];
    let store = Store::with(&["acme", "other"], &bytes_max);
    let before = store.resident_bytes();
    let metric = |name: &str| store.metric(&format!("turlough_store_{name}{{tenant=\"acme\"}}"));
    while_others_are_served(&store, || {
        let announcing = |n: u64| {
            let mut client = store.client_as("acme");
            let told = format!("*3\r\n$3\r\nSET\r\n$5\r\n{{r}}{n:02}\r\n${ANNOUNCED}\r\n12345");
            client.send(told.as_bytes());
            client
        };
        let slow: Vec<_> = (0..70).map(announcing).collect();
        // What was sent on other connections may have been read after this one's.
        eventually("62 are under way, and 8 refused", || {
            metric("bytes_in_flight") == (62 * ANNOUNCED) as f64
                && metric("quota_refusals_total") == 8.0
        });
        assert_grew_less(&store, before, 64 * MIB);
        // The tenant itself may go on with what is small.
        let mut acme = store.client_as("acme");
        assert_eq!(acme.say(&["SET", "a", "1"]), "OK");
        assert_eq!(acme.say(&["GETDEL", "a"]), "1");
        drop(slow);
        eventually("what was set aside is given back", || {
            metric("bytes_in_flight") == 0.0 && metric("bytes") < 1_000.0
        });
        let large = vec![b'x'; 1_000_000];
        assert_eq!(acme.call(&[b"SET", b"a", &large]), "OK");
    });
    assert_grew_less(&store, before, 64 * MIB);
}

#[test]
fn four_gigabytes_are_refused_with_their_limit_and_the_connection_goes_on() {
    const ANNOUNCED: usize = 4 << 30;
    let store = Store::with(&["acme", "other"], &[]);
    let before = store.resident_bytes();
    let mut client = store.client_as("acme");
    while_others_are_served(&store, || {
        client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${ANNOUNCED}\r\n").as_bytes());
        let part = vec![b'x'; 4 << 20];
        for n in 0..ANNOUNCED / part.len() {
            client.send(&part);
            if n % 64 == 0 {
                assert_grew_less(&store, before, 64 * MIB);
            }
        }
        client.send(b"\r\n");
        let told = client.reply().unwrap();
        let says = "(error) ERR value is 4294967296 bytes, limit 536870912; split it";
        assert!(told.starts_with(says), "{told}");
        assert_eq!(client.say(&["EXISTS", "a"]), "0");
        assert_eq!(client.say(&["SET", "a", "1"]), "OK");
    });
}

#[test]
fn who_asks_for_large_values_and_reads_none_takes_no_memory_but_theirs() {
    let store = Store::with(&["acme", "other"], &[]);
    let mut acme = store.client_as("acme");
    let value = vec![b'x'; 20_000_000];
    assert_eq!(acme.call(&[b"SET", b"{r}a", &value]), "OK");
    let before = store.resident_bytes();
    while_others_are_served(&store, || {
        let slow: Vec<_> = (0..100)
            .map(|_| {
                let mut client = store.client_as("acme");
                client.send(&b"GET {r}a\r\n".repeat(50));
                client
            })
            .map(|mut client| {
                client.peek();
                client
            })
            .collect();
        assert_grew_less(&store, before, 64 * MIB);
        assert_eq!(acme.say(&["DEL", "{r}a"]), "1");
        assert_eq!(acme.say(&["GET", "{r}a"]), "(nil)");
        drop(slow);
        eventually("nobody has the value any more", || {
            store.metric("turlough_store_bytes{tenant=\"acme\"}") < 1_000.0
        });
        assert_grew_less(&store, before, 64 * MIB);
    });
}

#[test]
fn replies_that_nobody_reads_are_bounded_for_each_connection() {
    const CLIENTS: u64 = 8;
    let store = Store::with(&["acme", "other"], &[]);
    let mut acme = store.client_as("acme");
    // It is copied into each reply.
    let value = "x".repeat(16_000);
    assert_eq!(acme.say(&["SET", "a", &value]), "OK");
    let before = store.resident_bytes();
    while_others_are_served(&store, || {
        let slow: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = store.client_as("acme");
                client.send(&b"GET a\r\n".repeat(20_000));
                client.peek();
                client
            })
            .collect();
        let mut most = 0;
        eventually("nothing more is put there", || {
            std::thread::sleep(Duration::from_millis(500));
            let now = store.resident_bytes();
            let is_all = now <= most;
            most = most.max(now);
            is_all
        });
        assert_grew_less(&store, before, CLIENTS * 48 * MIB);
        // Nothing is lost of it.
        for mut client in slow {
            for _ in 0..20_000 {
                assert!(client.reply().unwrap() == value);
            }
        }
    });
}

#[test]
fn who_stops_within_a_command_is_closed_and_what_it_took_is_given_back() {
    let stalled = [("TURLOUGH_STORE_STALLED", "2s")];
    let store = Store::with(&["acme", "other"], &stalled);
    let halves: [&[u8]; 4] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\n",
        b"GET a",
        b"*2\r\n$3\r\nGET\r\n$100\r\nhalf",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\nhalf",
    ];
    let mut idle = store.client_as("acme");
    while_others_are_served(&store, || {
        let mut slow: Vec<_> = halves
            .map(|half| {
                let mut client = store.client_as("acme");
                client.send(half);
                client
            })
            .into();
        // One that never says who it is.
        slow.push(store.client());
        for mut client in slow {
            assert!(client.is_closed_within(Duration::from_secs(120)));
        }
        eventually("what was set aside is given back", || {
            store.metric("turlough_store_bytes_in_flight{tenant=\"acme\"}") == 0.0
                && store.metric("turlough_store_bytes{tenant=\"acme\"}") == 0.0
        });
    });
    // Whoever owes nothing may be silent for longer.
    assert_eq!(idle.say(&["PING"]), "PONG");
}

/// As many connections as are wanted, where this process may have them.
fn as_many_as(wanted: u64) -> u64 {
    const FILES_MORE: u64 = 1_000;
    let files = getrlimit(Resource::Nofile);
    let most = files.maximum.unwrap_or(u64::MAX);
    let current = Some(most.min(wanted + FILES_MORE)).max(files.current);
    setrlimit(Resource::Nofile, Rlimit { current, ..files }).unwrap();
    let count = wanted.min(most.saturating_sub(FILES_MORE));
    if count < wanted {
        eprintln!("{count} connections instead of {wanted}, for the limit of {most} open files");
    }
    count
}

#[test]
fn ten_thousand_connections_cost_little_and_are_all_served() {
    let connections = as_many_as(10_000);
    let store = Store::with(&["acme", "other"], &[]);
    let before = store.resident_bytes();
    while_others_are_served(&store, || {
        let mut clients: Vec<Client> = (0..connections).map(|_| store.client_as("acme")).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                client.say(&["SET", &n.to_string(), &format!("value {n}")]),
                "OK"
            );
        }
        let each = (store.resident_bytes() - before) / connections;
        assert!(each < 8 << 10, "{each} bytes for a connection with its key");
        // Those of another client are beside them.
        assert!(store.metric("turlough_store_connections ") > connections as f64);
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.say(&["GET", &n.to_string()]), format!("value {n}"));
        }
        assert_eq!(clients[0].say(&["DBSIZE"]), connections.to_string());
    });
}

#[test]
fn hundreds_of_connections_over_tls_cost_little_and_are_all_served() {
    const CONNECTIONS: usize = 400;
    let secured = Secured::with(&["acme"]);
    let store = &secured.store;
    // Of the handshake they say nothing.
    let silent: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(store.address()).unwrap())
        .collect();
    let before = store.resident_bytes();
    // Each at once: a handshake has its time.
    let connected = (0..CONNECTIONS).map(|_| {
        let mut wire = secured.connect();
        wire.write_all(b"AUTH acme acme-secret\r\n").unwrap();
        let mut told = [0; 5];
        wire.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"+OK\r\n");
        wire
    });
    let mut wires: Vec<_> = connected.collect();
    for (n, wire) in wires.iter_mut().enumerate() {
        write!(wire, "SET key-{n} value-{n:03}\r\nGET key-{n}\r\n").unwrap();
        let expect = format!("+OK\r\n$9\r\nvalue-{n:03}\r\n");
        let mut told = vec![0; expect.len()];
        wire.read_exact(&mut told).unwrap();
        assert_eq!(String::from_utf8_lossy(&told), expect);
    }
    assert_grew_less(store, before, 64 * MIB);
    // Those that said nothing are let go of.
    for mut wire in silent {
        wire.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut told = Vec::new();
        assert_eq!(wire.read_to_end(&mut told).unwrap(), 0);
    }
    eventually("those that are known stay", || {
        store.metric("turlough_store_connections ") == CONNECTIONS as f64
    });
}
