//! Memory that runs short: values go to disk, sealed, and come back.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::client::Client;
use crate::program::{Store, eventually};

const MIB: u64 = 1 << 20;

/// A store of 20 MiB with a folder.
fn store(folder: &tempfile::TempDir, more: &[(&str, &str)]) -> Store {
    let mut settings = vec![
        ("TURLOUGH_STORE_BYTES_MAX", "20971520"),
        ("TURLOUGH_STORE_TENANT_BYTES_MAX", "1073741824"),
        ("TURLOUGH_STORE_SPILL", folder.path().to_str().unwrap()),
    ];
    settings.extend(more);
    Store::with(&[], &settings)
}

fn value(n: usize) -> Vec<u8> {
    let mut value = format!("plaintext {n} ").into_bytes().repeat(100_000);
    value.truncate(MIB as usize + n);
    value
}

/// Puts until there is room.
fn put(client: &mut Client, key: &str, value: &[u8]) {
    for _ in 0..1_500 {
        let told = client.call(&[b"SET", key.as_bytes(), value]);
        if told == "OK" {
            return;
        }
        assert!(told.starts_with("(error) OOM store has no room"), "{told}");
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("there is no room for {key}");
}

/// What the files that the store has open hold, from their beginnings.
fn on_disk(store: &Store) -> Vec<u8> {
    let mut all = Vec::new();
    for file in fs::read_dir(format!("/proc/{}/fd", store.id())).unwrap() {
        let path = file.unwrap().path();
        let name = fs::read_link(&path).unwrap_or_default();
        if name.to_string_lossy().ends_with("(deleted)") {
            let file = fs::File::open(&path).unwrap();
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            all.extend(bytes);
        }
    }
    all
}

#[test]
fn what_does_not_fit_into_memory_goes_to_disk_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, &[]);
    let mut client = store.client();
    for n in 0..60 {
        put(&mut client, &format!("{{r}}{n}"), &value(n));
    }
    put(&mut client, "{r}small", b"stays");
    assert!(store.metric("turlough_store_spilled_total") >= 40.0);
    assert!(store.metric("turlough_store_held_bytes") <= 20.0 * MIB as f64);
    assert!(
        store.resident_bytes() < 60 * MIB,
        "{}",
        store.resident_bytes()
    );
    let stat = client.say(&["BUCKET.STAT", "r"]);
    assert!(stat.starts_with("[keys, 61, bytes, 6292"), "{stat}");
    let there = on_disk(&store);
    assert!(there.len() as u64 > 40 * MIB);
    assert!(!there.windows(9).any(|some| some == b"plaintext"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for n in 0..60 {
        let read = client.say(&["GET", &format!("{{r}}{n}")]);
        assert!(read.as_bytes() == value(n), "{n}");
        // What comes back has others go for it.
        assert!(store.metric("turlough_store_held_bytes") <= 23.0 * MIB as f64);
    }
    assert!(store.metric("turlough_store_spilled_bytes") > 30.0 * MIB as f64);
    client.say(&["BUCKET.DROP", "r", "1"]);
    for name in ["turlough_store_spilled_bytes", "turlough_store_held_bytes"] {
        eventually(name, || store.metric(name) < 1_000.0);
    }
}

#[test]
fn what_was_appended_goes_to_disk_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, &[]);
    let mut client = store.client();
    for n in 0..40 {
        let (key, value) = (format!("{{r}}{n}"), value(n));
        eventually(&format!("there is room for {n}"), || {
            let told = client.call(&[b"APPEND", key.as_bytes(), &value]);
            told == value.len().to_string()
        });
    }
    assert!(store.metric("turlough_store_spilled_total") >= 20.0);
    for n in 0..40 {
        let read = client.say(&["GET", &format!("{{r}}{n}")]);
        assert!(read.as_bytes() == value(n), "{n}");
    }
}

#[test]
fn whatever_is_asked_of_a_value_on_disk_is_answered_as_if_it_were_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    // All that is large goes as soon as it is cold.
    let store = store(&folder, &[("TURLOUGH_STORE_SPILL_PERCENT", "1")]);
    let mut client = store.client();
    let whole = String::from_utf8(value(7)).unwrap();
    let mut spilled = 0.0;
    let mut digest = String::new();
    let answers: [(&[&str], &str); 13] = [
        (&["STRLEN", "{r}a"], &whole.len().to_string()),
        (&["EXISTS", "{r}a"], "1"),
        (&["GET", "{r}a"], &whole),
        (
            &["GETRANGE", "{r}a", "300000", "300009"],
            &whole[300_000..300_010],
        ),
        (&["MGET", "{r}a", "{r}none"], &format!("[{whole}, (nil)]")),
        (&["GETEX", "{r}a", "PERSIST"], &whole),
        (&["BLOCK.GET", "{r}a", "10"], &whole),
        (&["APPEND", "{r}a", "more"], &(whole.len() + 4).to_string()),
        (&["SET", "{r}a", "b", "GET"], &whole),
        (&["GETSET", "{r}a", "b"], &whole),
        (&["GETDEL", "{r}a"], &whole),
        (&["EXPIRE", "{r}a", "100"], "1"),
        (&["DEL", "{r}a"], "1"),
    ];
    for (words, expect) in answers {
        put(&mut client, "{r}a", whole.as_bytes());
        if digest.is_empty() {
            digest = client.say(&["BUCKET.REF", "{r}a"]);
        }
        spilled += 1.0;
        eventually(&format!("{words:?}: it is on disk"), || {
            store.metric("turlough_store_spilled_total") >= spilled
        });
        assert_eq!(client.say(&["BUCKET.REF", "{r}a"]), digest);
        let told = client.say(words);
        assert!(told == expect, "{words:?}");
        assert_eq!(client.say(&["FLUSHDB"]), "OK");
        // What came back may have gone once more.
        spilled = store.metric("turlough_store_spilled_total");
    }
    put(&mut client, "{r}a", whole.as_bytes());
    std::thread::sleep(Duration::from_millis(600));
    let all = digest.split(", ").collect::<Vec<_>>();
    let reference = all[all.iter().position(|it| *it == "reference").unwrap() + 1];
    assert!(client.say(&["REF.GET", reference]) == whole);
}

#[test]
fn a_disk_that_is_full_leaves_values_where_they_are_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, &[("TURLOUGH_STORE_SPILL_BYTES_MAX", "5000000")]);
    let mut client = store.client();
    let mut held = Vec::new();
    for n in 0..40 {
        std::thread::sleep(Duration::from_millis(20));
        let key = format!("{{r}}{n}");
        let told = client.call(&[b"SET", key.as_bytes(), &value(n)]);
        if told == "OK" {
            held.push(n);
        } else {
            assert!(told.starts_with("(error) OOM"), "{told}");
        }
    }
    let line = store.logged("values cannot be moved to disk");
    assert!(line.contains("TURLOUGH_STORE_SPILL_BYTES_MAX"), "{line}");
    assert!(held.len() < 40, "nothing was refused");
    for n in held {
        let read = client.say(&["GET", &format!("{{r}}{n}")]);
        assert!(read.as_bytes() == value(n), "{n}");
    }
    assert!(store.metric("turlough_store_spill_errors_total") > 0.0);
}

/// What is mounted on a folder, until it is let go of.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// A disk of so many MiB in memory; none where this process may not mount.
    fn tmpfs(mib: u64) -> Option<Self> {
        Self::with(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
    }

    /// The same, in a file, of a kind that turns read-only when something is wrong with it.
    fn ext4(file: &Path, mib: u64) -> Option<Self> {
        fs::File::create(file).unwrap().set_len(mib * MIB).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(file).output();
        is_done(made).then(|| Self::with(&["-o", "loop", file.to_str().unwrap()]))?
    }

    fn with(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(arguments).arg(folder.path()).output();
        is_done(mounted).then(|| Self(folder))
    }

    /// Does what the kernel does to a disk that fails.
    fn fail(&self) {
        let mut command = Command::new("mount");
        command.args(["-o", "remount,abort"]).arg(self.0.path());
        assert!(command.status().unwrap().success());
    }
}

/// Whether a disk was made. Where this process may not, a test says so and shows nothing.
fn is_done(made: io::Result<Output>) -> bool {
    let told = match made {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("left out, since no disk can be mounted: {told}");
    false
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A store may have files there for a moment.
        let lazily = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(lazily.unwrap().success());
    }
}

/// Puts values that memory and disk have no room for together; the numbers of those that were taken.
fn put_too_many(client: &mut Client, all: Range<usize>) -> Vec<usize> {
    let some = all.clone().filter(|n| {
        std::thread::sleep(Duration::from_millis(50));
        let told = client.call(&[b"SET", format!("{{r}}{n}").as_bytes(), &value(*n)]);
        assert!(told == "OK" || told.starts_with("(error) OOM"), "{told}");
        told == "OK"
    });
    let taken: Vec<_> = some.collect();
    assert!(taken.len() < all.len(), "nothing was refused");
    taken
}

fn assert_read(client: &mut Client, numbers: &[usize]) {
    for n in numbers {
        let read = client.say(&["GET", &format!("{{r}}{n}")]);
        assert!(read.as_bytes() == value(*n), "{n}: {read:.100}");
    }
}

const NOT_MOVED: &str = "values cannot be moved to disk; they stay in memory";

#[test]
fn a_disk_without_room_is_said_once_and_used_again_once_there_is_some() {
    let Some(disk) = Mounted::tmpfs(32) else {
        return;
    };
    let others = disk.0.path().join("others");
    fs::write(&others, vec![1; 24 << 20]).unwrap();
    let store = store(&disk.0, &[]);
    let mut client = store.client();
    let taken = put_too_many(&mut client, 0..50);
    let line = store.logged(NOT_MOVED);
    assert!(line.contains("No space left on device"), "{line}");
    // Some went there before.
    assert!(store.metric("turlough_store_spilled_total") >= 4.0);
    let errors = store.metric("turlough_store_spill_errors_total");
    eventually("it is tried again", || {
        store.metric("turlough_store_spill_errors_total") >= errors + 3.0
    });
    assert_eq!(store.times_logged(NOT_MOVED), 0);
    for n in &taken {
        assert_read(&mut client, &[*n]);
        assert!(store.metric("turlough_store_held_bytes") <= 23.0 * MIB as f64);
    }
    assert!(store.resident_bytes() < 60 * MIB);
    let spilled = store.metric("turlough_store_spilled_total");
    fs::remove_file(&others).unwrap();
    for n in 50..60 {
        put(&mut client, &format!("{{r}}{n}"), &value(n));
    }
    assert!(store.metric("turlough_store_spilled_total") > spilled);
    let all: Vec<_> = taken.into_iter().chain(50..60).collect();
    assert_read(&mut client, &all);
    client.say(&["BUCKET.DROP", "r", "1"]);
    for name in ["turlough_store_spilled_bytes", "turlough_store_held_bytes"] {
        eventually(name, || store.metric(name) < 1_000.0);
    }
    // What failed there took nothing of the disk.
    fs::write(&others, vec![1; 31 << 20]).unwrap();
}

#[test]
fn a_disk_that_turns_read_only_keeps_what_is_there_and_takes_nothing_more() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let Some(disk) = Mounted::ext4(image.path(), 64) else {
        return;
    };
    let store = store(&disk.0, &[]);
    let mut client = store.client();
    for n in 0..15 {
        put(&mut client, &format!("{{r}}{n}"), &value(n));
    }
    for n in 0..15 {
        put(&mut client, &format!("{{s}}{n}"), &value(n));
    }
    disk.fail();
    let more = (0..20).find(|n| {
        std::thread::sleep(Duration::from_millis(50));
        let told = client.call(&[b"SET", format!("{{s}}more-{n}").as_bytes(), &value(*n)]);
        assert!(told == "OK" || told.starts_with("(error) OOM"), "{told}");
        told != "OK"
    });
    assert!(more.is_some(), "nothing was refused");
    let line = store.logged(NOT_MOVED);
    assert!(line.contains("Read-only file system"), "{line}");
    let errors = store.metric("turlough_store_spill_errors_total");
    eventually("it is tried again", || {
        store.metric("turlough_store_spill_errors_total") >= errors + 2.0
    });
    assert_eq!(store.times_logged(NOT_MOVED), 0);
    assert!(store.metric("turlough_store_held_bytes") <= 20.0 * MIB as f64);
    // What is there needs room in memory to come back.
    client.say(&["BUCKET.DROP", "s", "1"]);
    assert_read(&mut client, &(0..15).collect::<Vec<_>>());
    assert!(store.metric("turlough_store_loaded_total") >= 5.0);
}

#[test]
fn a_folder_that_is_removed_keeps_what_is_there_and_is_used_again_once_it_is_back() {
    const LARGE: usize = 60 << 20;
    // One file takes a gigabyte of values, and others are made in the folder.
    const FILE_BYTES: usize = 1 << 30;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("values");
    fs::create_dir(&folder).unwrap();
    let settings = [
        ("TURLOUGH_STORE_SPILL", folder.to_str().unwrap()),
        ("TURLOUGH_STORE_SPILL_PERCENT", "1"),
    ];
    let store = Store::with(&[], &settings);
    let mut client = store.client();
    let spilled = || store.metric("turlough_store_spilled_total");
    put(&mut client, "{r}0", &value(0));
    put(&mut client, "{s}large", &vec![b'x'; LARGE]);
    eventually("both are on disk", || spilled() >= 2.0);
    fs::remove_dir(&folder).unwrap();
    // A value that is written while another is put takes room of the file too.
    let failed = || store.metric("turlough_store_spill_errors_total") > 0.0;
    let begun = spilled();
    for n in 0..=FILE_BYTES / LARGE {
        let before = spilled();
        put(&mut client, "{s}large", &vec![b'x'; LARGE]);
        eventually(&format!("{n} is on disk"), || {
            failed() || spilled() > before
        });
        if failed() {
            break;
        }
    }
    assert!(spilled() >= begun + 3.0, "what is open is used no more");
    let line = store.logged(NOT_MOVED);
    assert!(line.contains("No such file or directory"), "{line}");
    assert_eq!(client.say(&["STRLEN", "{s}large"]), LARGE.to_string());
    assert_read(&mut client, &[0]);
    let before = spilled();
    fs::create_dir(&folder).unwrap();
    eventually("the folder is used again", || spilled() > before);
    assert_read(&mut client, &[0]);
    let large = client.call(&[b"GET", b"{s}large"]);
    assert!(large.len() == LARGE && large.bytes().all(|it| it == b'x'));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_turlough-datastore"))
        .env("TURLOUGH_STORE_SPILL", "/proc/none")
        .env("TURLOUGH_LISTEN", "127.0.0.1")
        .env("TURLOUGH_STORE_PORT", "0")
        .env("TURLOUGH_STORE_METRICS_PORT", "0")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("cannot write values to /proc/none"), "{told}");
}
