//! Replies are those of Redis: each command is asked of both, where Redis has it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use redis::{Connection, Value};
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
SET k v EXAT 1
GET k
SET k v EXAT 99999999999
EXPIRETIME k
SET k v PXAT 99999999999000
EXPIRETIME k
SET k v EXAT 0
SET k v PXAT -1
SET k v PXAT 1
EXISTS k
SET k v EX 9223372036854775807
SET k v PX 9223372036854775807
SET k v EXAT 9223372036854775807
SET k v KEEPTTL EX 1
SET k v EX 1 KEEPTTL
SET k v PERSIST
SET k v GET GET
SET k v NX NX
SET k v XX XX
SET k v nx ex 100
SET n v XX GET
SET n v NX GET
SET n w NX GET
SET n w XX GET
SET n v EX 100 XX KEEPTTL
SET
SET n
SETNX n
SETNX n a b
SETEX n
SETEX n 1
SETEX n 100 v w
SETEX n x v
SETEX n -1 v
SETEX n 0 v
SETEX n 9223372036854775807 v
PSETEX n 100000 v
PSETEX n 0 v
PSETEX n -5 v
PSETEX n x v
PSETEX n 9223372036854775807 v
PSETEX n 1
GETSET
GETSET n
GETSET n a b
GETSET n new
APPEND n
APPEND n a b
APPEND n ""
APPEND empty ""
EXISTS empty
GET empty
STRLEN empty
STRLEN
STRLEN a b
GETRANGE n 0 -1
GETRANGE n -100 100
GETRANGE n 2 1
GETRANGE n -1 -3
GETRANGE n 9223372036854775807 9223372036854775807
GETRANGE n -9223372036854775808 -9223372036854775808
GETRANGE n 9223372036854775808 0
GETRANGE n
GETRANGE n 0
GETRANGE n 0 1 2
SUBSTR n 0
SUBSTR n 0 1
SUBSTR n 0 x
SUBSTR none 0 1
MSET
MSET a
MSET a 1 b
MSET a 1 a 2
GET a
MGET a a none
GETDEL
GETDEL a b
GETDEL none
GETEX
GETEX n
GETEX none
GETEX none EX 10
GETEX n EX
GETEX n EX 0
GETEX n EX -1
GETEX n EX x
GETEX n EX 100
GETEX n PX 100000
GETEX n EXAT 99999999999
EXPIRETIME n
GETEX n PXAT 99999999999000
EXPIRETIME n
GETEX n EX 100 PERSIST
GETEX n PERSIST EX 100
GETEX n EX 100 PX 100
GETEX n KEEPTTL
GETEX n NX
GETEX n PERSIST
GETEX n EX 9223372036854775807
GETEX n EXAT 1
EXISTS n
SET n v
DEL
DEL n n
UNLINK
UNLINK none
SET n v
EXISTS n n
TYPE
TYPE n x
SCAN
SCAN 0 COUNT
SCAN 0 COUNT x
SCAN 0 MATCH n
SCAN 0 MATCH n COUNT 1000
SCAN 0 COUNT 1000 MATCH zzz*
SCAN 0 TYPE
SCAN 0 TYPE hash COUNT 1000
SCAN 0 TYPE STRING COUNT 1000 MATCH n
SCAN 0 TYPE nosuch
SCAN 18446744073709551616
SCAN 1x
DBSIZE x
FLUSHDB ASYNC
FLUSHDB SYNC
FLUSHDB ASYNC SYNC
FLUSHALL
FLUSHALL ASYNC
FLUSHALL WHAT
FLUSHALL SYNC x
SET n v
EXPIRE
EXPIRE n
EXPIRE n 100 XX
EXPIRE n 200 GT
EXPIRE n 300 LT
EXPIRE n 400 XX GT
EXPIRE n 50 XX LT
EXPIRE n 30 XX LT LT
EXPIRE n 100 nx
EXPIRE none x
EXPIRE n 9223372036854775807
EXPIRE n -9223372036854775808
EXPIRE n 100 XX WHAT
EXPIRE n 100 WHAT XX
PEXPIRE
PEXPIRE n
PEXPIRE n 100000
PEXPIRE n x
PEXPIRE n 9223372036854775807
PEXPIRE n 50000 GT
PEXPIRE none 1
EXPIREAT
EXPIREAT n
EXPIREAT n 99999999999
EXPIREAT n x
EXPIREAT n 9223372036854775807
EXPIREAT none 99999999999
EXPIREAT n 99999999998 LT
EXPIREAT n 99999999999 LT
EXPIRETIME n
PEXPIREAT
PEXPIREAT n
PEXPIREAT n 99999999999000
PEXPIREAT n x
PEXPIREAT n 9223372036854775807
EXPIRETIME none
PEXPIRETIME none
EXPIRETIME
PEXPIRETIME
EXPIRETIME n n
PERSIST
PERSIST n
PERSIST n
PERSIST none
EXPIRETIME n
PEXPIREAT n 1
EXISTS n
SET n v
PEXPIREAT n -1
EXISTS n
TTL
PTTL
TTL a b
PTTL none
SET n v
ECHO a b
ECHO ""
PING ""
AUTH
SELECT
SELECT 0 1
SELECT 16
SELECT -1
SELECT 9223372036854775808
SELECT 0
CLIENT
CLIENT SETNAME ""
CLIENT GETNAME
CLIENT SETNAME "a\nb"
COMMAND INFO nosuch
COMMAND INFO nosuch nosuch2
COMMAND DOCS nosuch
CONFIG
CONFIG GET
CONFIG GET nosuch
CONFIG GET maxmemory-policy
HELLO 1
HELLO 4
HELLO 3 AUTH
HELLO 3 AUTH a
HELLO 2 SETNAME
HELLO 2 SETNAME "a b"
HELLO 2 WHAT
RESET x
NOSUCH
"" a
nosuchcommandwithaverylongname a b c
AUTH a b c
HELLO 2 AUTH nobody x
"#;

/// What is answered otherwise than by Redis: the line, how our answer begins, and why.
const OTHERWISE: &[(&str, &str, &str)] = &[
    ("SET \"\" v", "ERR key is empty", KEYS),
    ("GET \"\"", "ERR key is empty", KEYS),
    ("DEL \"\"", "ERR key is empty", KEYS),
    ("SELECT 1", "ERR DB index is out of range", ONE_SPACE),
    ("CONFIG GET databases", "databases", ONE_SPACE),
    (
        "AUTH x",
        "WRONGPASS invalid username-password pair",
        PASSWORDS,
    ),
    (
        "AUTH default x",
        "WRONGPASS invalid username-password pair",
        PASSWORDS,
    ),
    (
        "HELLO 2 AUTH default x",
        "WRONGPASS invalid username-password pair",
        PASSWORDS,
    ),
    (
        "CONFIG GET appendonly",
        "appendonly",
        "nothing of it outlives the process",
    ),
    (
        "CONFIG SET maxmemory 0",
        "ERR settings are the process's own",
        SETTINGS,
    ),
    ("CONFIG SET", "ERR settings are the process's own", SETTINGS),
    (
        "CONFIG RESETSTAT",
        "ERR settings are the process's own",
        SETTINGS,
    ),
    (
        "CONFIG REWRITE",
        "ERR settings are the process's own",
        SETTINGS,
    ),
    (
        "CONFIG HELP",
        "ERR settings are the process's own",
        SETTINGS,
    ),
    ("CLIENT HELP", "ERR unknown subcommand or wrong number", FEW),
    ("CLIENT WHAT", "ERR unknown subcommand or wrong number", FEW),
    ("CLIENT ID x", "ERR unknown subcommand or wrong number", FEW),
    (
        "CLIENT GETNAME x",
        "ERR unknown subcommand or wrong number",
        FEW,
    ),
    (
        "CLIENT SETNAME",
        "ERR unknown subcommand or wrong number",
        FEW,
    ),
    ("CLIENT LIST", "ERR unknown subcommand or wrong number", FEW),
    ("CLIENT INFO", "ERR unknown subcommand or wrong number", FEW),
    (
        "CLIENT NO-EVICT off",
        "ERR unknown subcommand or wrong number",
        FEW,
    ),
    (
        "CLIENT REPLY ON",
        "ERR unknown subcommand or wrong number",
        FEW,
    ),
    (
        "CLIENT KILL ID 99",
        "ERR unknown subcommand or wrong number",
        FEW,
    ),
    (
        "CLIENT TRACKING off",
        "ERR unknown subcommand or wrong number",
        FEW,
    ),
    (
        "CLIENT SETINFO lib-name x",
        "OK",
        "Redis has it since 7.2, and clients of today say it",
    ),
    (
        "COMMAND HELP",
        "ERR unknown subcommand. Try COUNT, INFO, DOCS",
        FEW,
    ),
    (
        "COMMAND WHAT",
        "ERR unknown subcommand. Try COUNT, INFO, DOCS",
        FEW,
    ),
    (
        "COMMAND GETKEYS GET a",
        "ERR unknown subcommand. Try COUNT, INFO, DOCS",
        FEW,
    ),
    (
        "COMMAND LIST",
        "ERR unknown subcommand. Try COUNT, INFO, DOCS",
        FEW,
    ),
    ("COMMAND COUNT", "", "it has commands of its own, and fewer"),
    ("COMMAND COUNT x", "", REST),
    (
        "COMMAND INFO",
        "",
        "whom it is told of is named; COMMAND tells of all",
    ),
    (
        "COMMAND DOCS get",
        "get",
        "it tells how many arguments there are, and no more",
    ),
    (
        "INFO nosuch",
        "# Server",
        "it is short, and told as a whole",
    ),
    (
        "SCAN 0 COUNT -1",
        "ERR value is not an integer or out of range",
        NATURAL,
    ),
    ("SCAN -1", "ERR invalid cursor", NATURAL),
    ("GETEX n PERSIST PERSIST", "ERR syntax error", REST),
    ("EXPIRE n 100 NX XX", "", IN_TURN),
    ("EXPIRE n 100 GT LT", "", IN_TURN),
    ("PEXPIREAT n 99999999999000 NX GT", "", IN_TURN),
    ("EXPIRE none 100 WHAT", "0", IN_TURN),
];
const KEYS: &str = "a key is 1 to 512 bytes";
const ONE_SPACE: &str = "a tenant has one key space";
const PASSWORDS: &str = "a password that nobody set is wrong";
const SETTINGS: &str = "settings are those of the process";
const FEW: &str = "it has those that clients say by themselves";
const REST: &str = "what comes after all that is looked at is nothing, or an error";
const NATURAL: &str = "what counts is not negative";
const IN_TURN: &str = "options are looked at one after the other, until one does not hold";

/// Lines as somebody types them, with nothing that escapes them between.
const TYPED: &[&[u8]] = &[
    b"ECHO plain",
    b"  ECHO \t plain  ",
    b"echo \"two words\"",
    b"ECHO 'two words'",
    b"ECHO \"a\\nb\\x41\\xg\\\\\\q\\\"\"",
    b"ECHO 'a\\nb\\'c'",
    b"ECHO a\"b c\"",
    b"ECHO a'b c'",
    b"ECHO \"\"",
    b"ECHO ''",
    b"ECHO \"\" \"\"",
    b"ECHO a\x0bb\x0cc",
    b"ECHO \"a\"\x0b",
    b"ECHO \"a\"b",
    b"ECHO \"a\"\"b\"",
    b"ECHO 'a'b",
    b"ECHO \"a",
    b"ECHO 'a",
    b"ECHO \"a\\",
    b"ECHO \\\"a",
    b"ECHO a\\nb",
    b"",
    b"   ",
    b"\"PING\"",
    b"PING\r",
    b"NOSUCH 'a b' c",
    b"GET",
    b"*0",
    b"*-1",
    b"*x",
    b"*01",
    b"* 1",
    b"*+1",
    b"*",
    b"*1\r\n+PING",
    b"*1\r\n$-1",
    b"*1\r\n$x",
    b"*1\r\n$04",
    b"*1\r\n$4\r\nPING",
    b"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n",
];

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

/// A command as `COMMAND` tells of it: its name, its arguments, and where its keys are.
type Listed = (String, i64, [i64; 3]);

fn listed(one: &Value) -> Option<Listed> {
    let Value::Array(parts) = one else {
        return None;
    };
    let number = |n: usize| redis::from_redis_value_ref(&parts[n]).unwrap();
    let name = redis::from_redis_value_ref(&parts[0]).unwrap();
    Some((name, number(1), [number(3), number(4), number(5)]))
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
    for (_, (name, arity, _)) in commands {
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
