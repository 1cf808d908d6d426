//! Replies are those of Redis: each command is asked of both, where Redis has it.

mod said;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use redis::{Connection, Value};
use turlough_testing::Redis;

use crate::program::Store;
use said::{OTHERWISE, SAID, TYPED};

fn told(arguments: &[&str], lines: &str) -> Vec<String> {
    let mut child = Command::new("redis-cli")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("redis-cli is there; run testing/install-debian.sh");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What is answered to each line, by redis-cli in a version of the protocol.
fn answers(version: &str, place: &[&str], lines: &[String]) -> Vec<String> {
    // One line at a time, so that what differs is known.
    let marked = lines.iter().enumerate();
    let marked: String = marked
        .map(|(n, line)| format!("{line}\nECHO =={n}\n"))
        .collect();
    let mut answers = vec![String::new()];
    for line in told(&[&[version], place].concat(), &marked) {
        let is_mark = line.trim_matches('"').starts_with("==");
        match (is_mark, answers.last_mut()) {
            (true, _) => answers.push(String::new()),
            (false, Some(answer)) => *answer += &format!("{line}\n"),
            (false, None) => {}
        }
    }
    // After the last mark nothing comes.
    assert_eq!(answers.pop().unwrap(), "");
    assert_eq!(answers.len(), lines.len());
    answers
}

/// A command as `COMMAND` tells of it: its name, its arguments, where its keys are, and whether it writes.
type Listed = (String, i64, [i64; 3], bool);

fn listed(one: &Value) -> Option<Listed> {
    let Value::Array(parts) = one else {
        return None;
    };
    let number = |n: usize| redis::from_redis_value_ref(&parts[n]).unwrap();
    let name = redis::from_redis_value_ref(&parts[0]).unwrap();
    let (Value::Array(flags) | Value::Set(flags)) = &parts[2] else {
        panic!("{:?}", parts[2]);
    };
    let writes = flags.contains(&Value::SimpleString("write".to_owned()));
    Some((name, number(1), [number(3), number(4), number(5)], writes))
}

/// The store's commands that Redis has too, as each of them tells of it.
fn shared_commands(theirs: &mut Connection, ours: &mut Connection) -> Vec<(Listed, Listed)> {
    let all: Vec<Value> = redis::cmd("COMMAND").query(ours).unwrap();
    let all: Vec<_> = all.iter().filter_map(listed).collect();
    assert!(all.len() > 40, "{all:?}");
    let mut shared = Vec::new();
    for command in all {
        let mut info = redis::cmd("COMMAND");
        info.arg("INFO").arg(&command.0);
        let told: Vec<Value> = info.query(theirs).unwrap();
        shared.extend(listed(&told[0]).map(|theirs| (theirs, command)));
    }
    shared
}

/// Each command with an argument too few, and with one too many where there is a most.
fn of_wrong_length(commands: &[(Listed, Listed)]) -> Vec<String> {
    let line = |name: &str, words: i64| {
        let more = usize::try_from(words - 1).unwrap();
        format!("{name}{}", " x".repeat(more))
    };
    let mut lines = Vec::new();
    for (_, (name, arity, ..)) in commands {
        let least = arity.abs();
        lines.extend((least > 1).then(|| line(name, least - 1)));
        lines.extend((*arity > 0).then(|| line(name, arity + 1)));
    }
    lines
}

/// Whether what is left of a time is the same, but for what a slow machine takes between.
fn is_left(line: &str, ours: &str, theirs: &str) -> bool {
    let left = |answer: &str| answer.trim().parse::<i64>().ok().filter(|left| *left > 0);
    let apart = left(ours)
        .zip(left(theirs))
        .map(|(ours, theirs)| ours.abs_diff(theirs));
    line.starts_with("TTL ") && apart.is_some_and(|apart| apart < 10)
}

fn connected(url: &str) -> Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

#[tokio::test]
async fn every_reply_is_that_of_redis() {
    let redis = Redis::start().await;
    let store = Store::open();
    let socket = redis.url().replace("redis+unix://", "");
    let mut theirs = connected(&redis.url());
    let mut ours = connected(&format!("redis://{}", store.address()));
    let commands = shared_commands(&mut theirs, &mut ours);
    let mut lines: Vec<_> = SAID
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    lines.extend(of_wrong_length(&commands));
    for version in ["-2", "-3"] {
        for told in [&mut theirs, &mut ours] {
            redis::cmd("FLUSHDB").exec(told).unwrap();
        }
        let theirs = answers(version, &["-s", &socket], &lines);
        let ours = answers(version, &["-p", store.port()], &lines);
        for ((line, theirs), ours) in lines.iter().zip(&theirs).zip(&ours) {
            let is_same = ours == theirs || is_left(line, ours, theirs);
            assert!(is_same, "{line} in version {version}: {ours} {theirs}");
        }
    }
}

#[tokio::test]
async fn every_command_that_redis_has_is_told_of_as_redis_does_and_is_said_to_both() {
    let redis = Redis::start().await;
    let store = Store::open();
    let mut theirs = connected(&redis.url());
    let mut ours = connected(&format!("redis://{}", store.address()));
    let lines = OTHERWISE.iter().map(|(line, ..)| *line).chain(SAID.lines());
    let said: Vec<_> = lines.filter_map(|line| line.split(' ').next()).collect();
    for (theirs, ours) in shared_commands(&mut theirs, &mut ours) {
        assert_eq!(ours, theirs);
        // It ends the connection: what it is answered, another test looks at.
        let is_said =
            ours.0 == "quit" || said.iter().any(|word| word.eq_ignore_ascii_case(&ours.0));
        assert!(is_said, "{} is not among what is said", ours.0);
    }
}

#[tokio::test]
async fn what_is_answered_otherwise_is_known() {
    let redis = Redis::start().await;
    let store = Store::open();
    let socket = redis.url().replace("redis+unix://", "");
    let lines = OTHERWISE
        .iter()
        .flat_map(|(line, ..)| ["SET n v".to_owned(), (*line).to_owned()]);
    let lines: Vec<_> = lines.collect();
    for version in ["-2", "-3"] {
        let theirs = answers(version, &["-s", &socket], &lines);
        let ours = answers(version, &["-p", store.port()], &lines);
        let answers = theirs.iter().zip(&ours).skip(1).step_by(2);
        for ((line, meant, why), (theirs, ours)) in OTHERWISE.iter().zip(answers) {
            assert!(ours.starts_with(meant), "{line}: {ours}");
            assert_ne!(ours, theirs, "{line} is as in Redis, though {why}");
        }
    }
}

/// What is answered to what is typed, and whether the connection stays.
fn typed(wire: UnixStream, line: &[u8]) -> String {
    let mut wire = wire;
    wire.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    wire.write_all(&[line, b"\r\nECHO ==\r\n"].concat())
        .unwrap();
    let (mut answer, mut some) = (Vec::new(), [0; 1_024]);
    while !answer.ends_with(b"$2\r\n==\r\n") {
        match wire.read(&mut some) {
            Ok(len @ 1..) => answer.extend_from_slice(&some[..len]),
            Ok(0) => break,
            // Closed with something unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{}: {error}", line.escape_ascii()),
        }
    }
    answer.escape_ascii().to_string()
}

#[tokio::test]
async fn what_is_typed_is_read_as_by_redis() {
    let redis = Redis::start().await;
    let store = Store::open();
    let socket = redis.url().replace("redis+unix://", "");
    for line in TYPED {
        let theirs = typed(UnixStream::connect(&socket).unwrap(), line);
        let ours = typed(UnixStream::connect(store.socket()).unwrap(), line);
        assert_eq!(ours, theirs, "{}", line.escape_ascii());
    }
}

#[test]
fn a_greeting_says_who_answers_in_the_version_that_was_asked_for() {
    let store = Store::open();
    let mut client = store.client();
    let greeting = client.say(&["HELLO", "3", "SETNAME", "me"]);
    assert!(
        greeting.contains("server, turlough-datastore"),
        "{greeting}"
    );
    assert!(greeting.contains("proto, 3"), "{greeting}");
    assert_eq!(client.say(&["CLIENT", "GETNAME"]), "me");
    assert_eq!(client.say(&["GET", "none"]), "(nil)");
    assert_eq!(client.say(&["RESET"]), "RESET");
    assert_eq!(client.say(&["CLIENT", "GETNAME"]), "(nil)");
    assert!(client.say(&["INFO"]).contains("redis_version:"));
    assert!(client.say(&["COMMAND", "COUNT"]).parse::<u32>().unwrap() > 40);
    assert!(
        client
            .say(&["COMMAND", "INFO", "get"])
            .starts_with("[[get, 2")
    );
    assert_eq!(client.say(&["QUIT"]), "OK");
    assert!(client.is_closed());
}

#[test]
fn large_values_come_back_as_they_were_sent_over_tcp_and_the_socket() {
    let store = Store::open();
    for bytes in [16_384, 16_385, 100_000, 2_097_152, 20_000_001] {
        let value: Vec<u8> = (0..bytes).map(|n: u32| (n % 251) as u8).collect();
        let mut client = redis::Client::open(format!("redis://{}", store.address()))
            .unwrap()
            .get_connection()
            .unwrap();
        let mut near = redis::Client::open(format!("redis+unix://{}", store.socket().display()))
            .unwrap()
            .get_connection()
            .unwrap();
        redis::cmd("SET")
            .arg("{r}v")
            .arg(&value)
            .exec(&mut client)
            .unwrap();
        let read: Vec<u8> = redis::cmd("GET").arg("{r}v").query(&mut near).unwrap();
        assert!(read == value, "{bytes} bytes");
        redis::cmd("APPEND")
            .arg("{r}v")
            .arg(&value)
            .exec(&mut near)
            .unwrap();
        let len: usize = redis::cmd("STRLEN").arg("{r}v").query(&mut client).unwrap();
        assert_eq!(len, 2 * value.len());
        let part: Vec<u8> = redis::cmd("GETRANGE")
            .arg("{r}v")
            .arg(value.len() - 7)
            .arg(value.len() + 6)
            .query(&mut client)
            .unwrap();
        let both = [&value[value.len() - 7..], &value[..7]].concat();
        assert_eq!(part, both);
        let old: Vec<u8> = redis::cmd("GETDEL").arg("{r}v").query(&mut client).unwrap();
        assert_eq!(old.len(), 2 * value.len());
    }
    assert_eq!(store.metric("turlough_store_pool_used_bytes "), 0.0);
}
