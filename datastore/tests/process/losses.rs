//! Three stores, of which one is killed again and again: what has a copy is never lost, and what has
//! none is told as lost, and is put anew.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{Client, command};
use crate::program::Store;

const REQUESTS: usize = 10_000;
const CLIENTS: usize = 4;
/// How often the first store is killed.
const KILLS: usize = 4;
const LOST: &str = "(error) LOST value turlough://";

#[derive(Debug, Default)]
struct Seen {
    done: AtomicUsize,
    /// Values that had a copy, and were read though their store was gone or empty.
    saved: AtomicUsize,
    /// Values without a copy that were told as lost, and put anew.
    lost: AtomicUsize,
}

/// A client that connects anew, and to whichever store is there.
struct Roaming<'a> {
    places: &'a [String],
    clients: Vec<Option<Client>>,
}

impl<'a> Roaming<'a> {
    fn new(places: &'a [String]) -> Self {
        let clients = places.iter().map(|_| None).collect();
        Self { places, clients }
    }

    /// The answer of a store; none where it is away.
    fn say(&mut self, at: usize, words: &[&[u8]]) -> Option<String> {
        if self.clients[at].is_none() {
            let mut client = Client::over(TcpStream::connect(&self.places[at]).ok()?);
            client
                .try_send(&command(&[b"AUTH", b"acme", b"acme-secret"]))
                .ok()?;
            client.reply()?;
            self.clients[at] = Some(client);
        }
        let client = self.clients[at].as_mut()?;
        let sent: io::Result<()> = client.try_send(&command(words));
        let reply = sent.ok().and_then(|()| client.reply());
        if reply.is_none() {
            self.clients[at] = None;
        }
        reply
    }

    /// Puts a value, once; its reference, where it is there now.
    fn put(&mut self, at: usize, key: &str, value: &str, backup: &str) -> Option<String> {
        let words = ["SET", key, value, "NX", "EPOCH", "1", "BACKUP", backup];
        let put = self.say(at, &words.map(str::as_bytes))?;
        let told = (put == "OK").then(|| self.say(at, &[b"BUCKET.REF", key.as_bytes()]));
        let told = told.flatten()?;
        let reference = told.split(", ").find(|it| it.starts_with("turlough:"))?;
        Some(reference.to_owned())
    }

    /// What a reference leads to. Where there is no copy its store is waited for.
    fn read(&mut self, at: usize, reference: &str, has_copy: bool) -> String {
        loop {
            let read = self.say(at, &[b"REF.GET", reference.as_bytes()]);
            let read = read.expect("only the first store is killed");
            if has_copy || !read.starts_with("(error) BUSY value turlough://") {
                return read;
            }
            sleep(20);
        }
    }

    fn drop_bucket(&mut self, name: &str) {
        for at in 0..self.places.len() {
            self.say(at, &[b"BUCKET.DROP", name.as_bytes(), b"1"]);
        }
    }
}

fn sleep(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}

/// One request: a value is put at one store, read at another by its reference, and dropped.
fn request(n: usize, roaming: &mut Roaming<'_>, seen: &Seen) {
    let has_copy = n.is_multiple_of(2);
    let backup = if has_copy { "SYNC" } else { "NONE" };
    let value = format!("value {n} ").repeat(if n.is_multiple_of(10) { 4_000 } else { 20 });
    let mut at = n % 3;
    for attempt in 0..1_000 {
        let key = format!("{{r{n}}}{attempt}");
        let Some(reference) = roaming.put(at, &key, &value, backup) else {
            // It is away, has no peer for a copy, or came back between the two.
            sleep(5);
            at = (at + 1) % 3;
            continue;
        };
        // Some are read long after, when their store may be gone.
        if n.is_multiple_of(5) {
            sleep(20);
        }
        let read = roaming.read(1 + (n / 2) % 2, &reference, has_copy);
        if read == value {
            let is_there = roaming.say(at, &[b"EXISTS", key.as_bytes()]);
            if at == 0 && is_there.as_deref() != Some("1") {
                seen.saved.fetch_add(1, Ordering::Relaxed);
            }
            break;
        }
        assert!(read.starts_with(LOST), "{n}: {read}");
        assert!(!has_copy, "{n} had a copy: {read}");
        assert_eq!(at, 0, "{n}: only the first store is killed: {read}");
        seen.lost.fetch_add(1, Ordering::Relaxed);
        at = 1;
    }
    roaming.drop_bucket(&format!("r{n}"));
    seen.done.fetch_add(1, Ordering::Relaxed);
}

/// A value that is at the first store when it is killed, and is read once that is back.
struct Met {
    bucket: String,
    reference: String,
}

impl Met {
    fn put(kill: usize, backup: &str, roaming: &mut Roaming<'_>) -> Self {
        let bucket = format!("met{kill}{backup}");
        let reference = (0..1_000).find_map(|attempt| {
            let key = format!("{{{bucket}}}{attempt}");
            let reference = roaming.put(0, &key, "met", backup);
            if reference.is_none() {
                sleep(5);
            }
            reference
        });
        Self {
            bucket,
            reference: reference.expect("the first store takes a value"),
        }
    }

    fn read(self, roaming: &mut Roaming<'_>) -> String {
        let read = roaming.read(1, &self.reference, false);
        roaming.drop_bucket(&self.bucket);
        read
    }
}

/// Three places that know one another.
fn places() -> Vec<String> {
    let held: Vec<_> = (0..3)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let place = |held: &std::net::TcpListener| held.local_addr().unwrap().to_string();
    held.iter().map(place).collect()
}

fn start(place: &str, all: &str) -> Store {
    let (_, port) = place.rsplit_once(':').unwrap();
    let settings = [("TURLOUGH_STORE_PORT", port), ("TURLOUGH_STORE_PEERS", all)];
    Store::with(&["acme"], &settings)
}

#[test]
fn of_ten_thousand_requests_none_loses_a_copy_while_a_store_is_killed() {
    let places = places();
    let all = places.join(",");
    let stores: Vec<_> = places.iter().map(|place| start(place, &all)).collect();
    let (seen, next) = (Seen::default(), AtomicUsize::new(0));
    let killed = Mutex::new(stores);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut roaming = Roaming::new(&places);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= REQUESTS {
                        return;
                    }
                    request(n, &mut roaming, &seen);
                }
            });
        }
        let mut roaming = Roaming::new(&places);
        for kill in 1..=KILLS {
            while next.load(Ordering::Relaxed) < kill * REQUESTS / (KILLS + 1) {
                sleep(5);
            }
            // Whatever of the requests it meets, it meets these two.
            let met = ["SYNC", "NONE"].map(|backup| Met::put(kill, backup, &mut roaming));
            let mut stores = killed.lock().unwrap();
            drop(stores.remove(0));
            sleep(300);
            stores.insert(0, start(&places[0], &all));
            let [kept, gone] = met.map(|met| met.read(&mut roaming));
            assert_eq!(kept, "met");
            assert!(gone.starts_with(LOST), "{gone}");
        }
    });
    assert_eq!(seen.done.into_inner(), REQUESTS);
    let (saved, lost) = (seen.saved.into_inner(), seen.lost.into_inner());
    println!("{saved} requests were saved by a copy, {lost} had a value lost");
    // Nothing of them stays, but for copies that their owner could not take back.
    for (n, store) in killed.into_inner().unwrap().iter().enumerate() {
        let keys = store.client_as("acme").say(&["DBSIZE"]);
        assert!(
            n > 0 || keys == "0",
            "{keys} keys at the store that was killed last"
        );
    }
}
