//! Replies are those of Redis: each command is asked of both, where Redis has it.

use std::process::Command;

use turlough_testing::Redis;

use crate::program::Store;

/// Lines that both are told, one after the other, by redis-cli. What is answered must be the same.
const SAID: &str = r#"
SET a 1
GET a
GET none
SET a 2 NX
GET a
SET b 3 XX
SET a 4 XX GET
SET a 5 GET NX
SET new 5 GET NX
GET new
SET a 6 KEEPTTL
SET a 6 EX 100
TTL a
SET a 7 KEEPTTL
TTL a
SET a 8
TTL a
PTTL a
TTL none
SET a 1 EX 0
SET a 1 EX -1
SET a 1 EX x
SET a 1 EX
SET a 1 PX 10 EX 10
SET a 1 NX XX
SET a 1 WHAT
SET a
SET
SETNX a 9
SETNX fresh 9
SETEX c 100 v
TTL c
SETEX c 0 v
PSETEX c 100000 v
TTL c
PERSIST c
PERSIST c
TTL c
GETSET a 10
GETSET other 1
APPEND a 11
APPEND added x
GET a
STRLEN a
STRLEN none
GETRANGE a 0 1
GETRANGE a -2 -1
GETRANGE a 5 1
GETRANGE a 0 x
GETRANGE none 0 1
SUBSTR a 0 1
MSET x 1 y 2
MSET x
MGET x y none
MGET
DEL x y none
UNLINK a
EXISTS a b c c
EXISTS
TYPE c
TYPE none
GETDEL c
GETDEL c
GETEX fresh EX 100
TTL fresh
GETEX fresh PERSIST
TTL fresh
GETEX fresh WHAT
EXPIRE fresh 100
EXPIRE fresh 50 GT
EXPIRE fresh 200 GT
EXPIRE fresh 300 NX
EXPIRE fresh 10 LT
EXPIRE fresh 10 WHAT
TTL fresh
EXPIRE none 1
EXPIRE fresh x
EXPIRE fresh -1
EXISTS fresh
PEXPIRE new 100000
TTL new
EXPIREAT new 1
EXISTS new
DBSIZE
FLUSHDB
DBSIZE
FLUSHDB WHAT
SCAN 0
SCAN x
SCAN 0 COUNT 0
SCAN 0 MATCH
SCAN 0 WHAT 1
SCAN 0 TYPE string
PING
PING hello
PING a b
ECHO hello
ECHO
SELECT 0
SELECT 99
SELECT x
CLIENT GETNAME
CLIENT SETNAME me
CLIENT GETNAME
CLIENT SETNAME "a b"
CONFIG GET save
HELLO 9
HELLO x
NOSUCH a b
GET a b
get a
"#;

fn told(arguments: &[&str], lines: &str) -> Vec<String> {
    use std::io::Write as _;
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

#[tokio::test]
async fn every_reply_is_that_of_redis() {
    let redis = Redis::start().await;
    let store = Store::open();
    let redis = redis.url().replace("redis+unix://", "");
    // One line at a time, so that what differs is known.
    let lines: Vec<_> = SAID.lines().filter(|line| !line.is_empty()).collect();
    let mark = |lines: &[&str]| -> String {
        let marked = lines.iter().enumerate();
        marked
            .map(|(n, line)| format!("{line}\nECHO =={n}\n"))
            .collect()
    };
    let all = mark(&lines);
    for version in ["-2", "-3"] {
        // What Redis has in it here is nobody's: it was just started.
        told(&["-s", &redis], "FLUSHDB\n");
        told(&["-p", store.port()], "FLUSHDB\n");
        let theirs = told(&[version, "-s", &redis], &all);
        let ours = told(&[version, "-p", store.port()], &all);
        let apart = |told: &[String]| -> Vec<String> {
            let mut parts = vec![String::new()];
            for line in told {
                let is_mark = line.trim_matches('"').starts_with("==");
                match (is_mark, parts.last_mut()) {
                    (true, _) => parts.push(String::new()),
                    (false, Some(part)) => *part += &format!("{line}\n"),
                    (false, None) => {}
                }
            }
            parts
        };
        let (theirs, ours) = (apart(&theirs), apart(&ours));
        for ((line, theirs), ours) in lines.iter().zip(&theirs).zip(&ours) {
            assert_eq!(ours, theirs, "{line} in version {version}");
        }
        assert_eq!(ours.len(), lines.len() + 1);
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
