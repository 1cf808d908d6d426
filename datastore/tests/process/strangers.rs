//! Who has not said who it is, or never will.

use std::net::TcpStream;
use std::time::Duration;

use crate::client::{Client, command};
use crate::program::{Store, eventually};

/// A guess whose answer nobody waits for.
fn guess(store: &Store, n: usize) -> Client {
    let mut client = Client::connect(store.address());
    client.send(&command(&[
        b"AUTH",
        b"acme",
        format!("guess-{n}").as_bytes(),
    ]));
    client
}

#[test]
fn who_does_not_wait_for_answers_gets_no_more_guesses() {
    let store = Store::with(&["acme"], &[]);
    let wrong = || store.metric("turlough_store_wrong_passwords_total ");
    let mut guesses = Vec::new();
    for n in 0..200 {
        guesses.push(guess(&store, n));
    }
    let refused = guesses.split_off(60);
    let refused = refused.into_iter().filter_map(|mut client| {
        let reply = client.reply()?;
        reply
            .starts_with("(error) ERR too many wrong passwords")
            .then_some(reply)
    });
    let refused: Vec<_> = refused.collect();
    // Those that were looked at before answer late.
    assert!(refused.len() > 100, "{} of 140", refused.len());
    assert!(
        refused[0].contains("was not looked at; try again in"),
        "{}",
        refused[0]
    );
    drop(guesses);
    // Sixteen, and those whose answers were given meanwhile.
    assert!(wrong() < 60.0, "{}", wrong());
    // The right one is looked at again, too.
    let mut client = Client::connect(store.address());
    eventually("the right password is taken", || {
        client.say(&["AUTH", "acme", "acme-secret"]) == "OK"
    });
}

#[test]
fn a_stranger_has_little_to_say_and_not_long() {
    let store = Store::with(&["acme"], &[("TURLOUGH_STORE_STALLED", "1s")]);
    let mut client = store.client();
    client.send(b"*11\r\n");
    assert_eq!(
        client.reply().unwrap(),
        "(error) ERR Protocol error: unauthenticated multibulk length"
    );
    assert!(client.is_closed());
    // A byte now and then does not help.
    let mut slow = TcpStream::connect(store.address()).unwrap();
    eventually("it is closed", || {
        std::io::Write::write_all(&mut slow, b"\r").is_err()
    });
    // Nor does half a command, for whoever is known.
    let mut known = store.client_as("acme");
    known.send(b"*2\r\n$3\r\nGET\r\n$4\r\n{r");
    assert!(known.is_closed());
    let mut idle = store.client_as("acme");
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(idle.say(&["PING"]), "PONG");
}

#[test]
fn what_connections_hold_together_is_bounded() {
    let store = Store::with(
        &["acme"],
        &[("TURLOUGH_STORE_BUFFERS_BYTES_MAX", "1000000")],
    );
    let mut acme = store.client_as("acme");
    assert_eq!(acme.call(&[b"SET", b"a", &[b'x'; 10_000]]), "OK");
    let held = || store.metric("turlough_store_buffers_bytes ");
    let mut slow: Vec<_> = (0..20).map(|_| store.client_as("acme")).collect();
    let many = command(&[b"GET", b"a"]).repeat(2_000);
    for client in &mut slow {
        client.send(&many);
    }
    eventually("all are answered as far as they may be", || held() > 1e6);
    std::thread::sleep(Duration::from_millis(500));
    // One may fill what is left at once, and each has a little.
    assert!(held() < (32 << 20) as f64 + 20.0 * 2e5, "{}", held());
    // A large command that is not there yet has to wait for better times.
    let mut large = store.client_as("acme");
    let values = vec![b'v'; 10_000];
    let words: Vec<&[u8]> = std::iter::once(&b"MSET"[..])
        .chain((0..40).map(|_| &values[..]))
        .collect();
    let whole = command(&words);
    large.send(&whole[..whole.len() / 2]);
    let told = large.reply().unwrap();
    assert!(
        told.starts_with("(error) ERR all connections hold too much"),
        "{told}"
    );
    assert!(large.is_closed());
    for client in &mut slow {
        for _ in 0..2_000 {
            assert_eq!(client.reply().unwrap().len(), 10_000);
        }
    }
    eventually("it is let go", || held() < 1e6);
    assert_eq!(acme.say(&["STRLEN", "a"]), "10000");
}
