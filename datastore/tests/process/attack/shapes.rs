//! How each command would reach what is another's. Whoever owns it is answered by each, so that a
//! refusal means something.

use Reach::{Both, Changes, Nothing, Shows};

/// What comes of words that the owner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The answer tells of what is there.
    Shows,
    /// What is there is another afterwards.
    Changes,
    Both,
    /// They have nothing to do with anybody's data.
    Nothing,
}

/// Commands that are the admin's, on whichever tenant.
pub(super) const FOR_ADMINS: &[&str] = &["tenant.set", "tenant.list"];
/// Commands that are about the connection, and so for everybody.
pub(super) const FOR_ALL: &[&str] = &[
    "hello", "auth", "quit", "reset", "ping", "echo", "select", "client", "command", "config",
];
/// Commands that read what a step was given.
pub(super) const FOR_STEPS: &[&str] = &[
    "get",
    "mget",
    "getrange",
    "substr",
    "strlen",
    "exists",
    "type",
    "bucket.ref",
    "ref.get",
    "block.get",
];
/// Commands by which a step puts its output.
pub(super) const FOR_OUTPUT: &[&str] = &["set", "setnx"];

/// Words that reach the keys `{secret}a` and `plain`, the bucket `secret` at epoch 3, or the tenant.
/// What stands in `<>` is put in by whoever says them.
pub(super) fn shapes(command: &str) -> &'static [(Reach, &'static str)] {
    let found = values(command).or_else(|| keys(command));
    let found = found.or_else(|| buckets(command));
    found
        .or_else(|| others(command))
        .unwrap_or_else(|| panic!("no attack by the command {command:?} is written here"))
}

fn values(command: &str) -> Option<&'static [(Reach, &'static str)]> {
    Some(match command {
        "get" => &[(Shows, "GET {secret}a"), (Shows, "GET plain")],
        "set" => &[
            (Changes, "SET {secret}a mine"),
            (Changes, "SET {secret}a mine EX 100 EPOCH 3"),
            (Both, "SET plain mine XX"),
            (Both, "SET plain mine GET"),
            (Shows, "SET plain mine NX"),
            (Shows, "SET {secret}a mine NX GET"),
            (Shows, "SET {secret}a mine EPOCH 2"),
        ],
        "setnx" => &[(Shows, "SETNX {secret}a mine"), (Shows, "SETNX plain mine")],
        "setex" => &[(Changes, "SETEX plain 100 mine")],
        "psetex" => &[(Changes, "PSETEX {secret}a 100000 mine")],
        "getset" => &[(Both, "GETSET {secret}a mine"), (Both, "GETSET plain mine")],
        "append" => &[(Both, "APPEND {secret}a mine"), (Both, "APPEND plain mine")],
        "mset" => &[(Changes, "MSET other mine plain mine {secret}a mine")],
        "mget" => &[(Shows, "MGET {secret}a plain")],
        "getdel" => &[(Both, "GETDEL {secret}a"), (Both, "GETDEL plain")],
        "getex" => &[
            (Shows, "GETEX plain"),
            (Both, "GETEX plain EX 100"),
            (Both, "GETEX {secret}a PERSIST"),
        ],
        "getrange" => &[(Shows, "GETRANGE plain 0 -1")],
        "substr" => &[(Shows, "SUBSTR {secret}a 0 -1")],
        "strlen" => &[(Shows, "STRLEN {secret}a"), (Shows, "STRLEN plain")],
        "block.get" => &[
            (Shows, "BLOCK.GET {secret}a 1"),
            (Shows, "BLOCK.GET plain 1"),
        ],
        _ => return None,
    })
}

fn keys(command: &str) -> Option<&'static [(Reach, &'static str)]> {
    Some(match command {
        "del" => &[(Both, "DEL {secret}a plain")],
        "unlink" => &[(Both, "UNLINK plain {secret}a")],
        "exists" => &[(Shows, "EXISTS {secret}a"), (Shows, "EXISTS plain plain")],
        "type" => &[(Shows, "TYPE {secret}a"), (Shows, "TYPE plain")],
        "scan" => &[
            (Shows, "SCAN 0 COUNT 10000"),
            (Shows, "SCAN 0 MATCH {secret}* COUNT 10000"),
            (Shows, "SCAN 0 MATCH pl?in COUNT 10000 TYPE string"),
        ],
        "dbsize" => &[(Shows, "DBSIZE")],
        "flushdb" => &[(Changes, "FLUSHDB"), (Changes, "FLUSHDB ASYNC")],
        "flushall" => &[(Changes, "FLUSHALL"), (Changes, "FLUSHALL SYNC")],
        "expire" => &[(Both, "EXPIRE plain 100"), (Both, "EXPIRE {secret}a -1")],
        "pexpire" => &[(Both, "PEXPIRE {secret}a 100000 LT")],
        "expireat" => &[
            (Both, "EXPIREAT plain 1"),
            (Both, "EXPIREAT {secret}a 99999999999 GT"),
        ],
        "pexpireat" => &[(Both, "PEXPIREAT plain 99999999999999 NX")],
        "ttl" => &[(Shows, "TTL {secret}a"), (Shows, "TTL plain")],
        "pttl" => &[(Shows, "PTTL {secret}a"), (Shows, "PTTL plain")],
        "expiretime" => &[(Shows, "EXPIRETIME {secret}a")],
        "pexpiretime" => &[(Shows, "PEXPIRETIME plain")],
        "persist" => &[(Both, "PERSIST {secret}a")],
        "keep" => &[(Both, "KEEP {secret}a 100000")],
        _ => return None,
    })
}

fn buckets(command: &str) -> Option<&'static [(Reach, &'static str)]> {
    Some(match command {
        "bucket.ref" => &[(Shows, "BUCKET.REF {secret}a"), (Shows, "BUCKET.REF plain")],
        "ref.get" => &[(Shows, "REF.GET <reference>"), (Shows, "REF.GET <far>")],
        "bucket.drop" => &[
            (Both, "BUCKET.DROP secret 99"),
            (Both, "BUCKET.DROP secret 99 AT <here>"),
            (Changes, "BUCKET.DROP secret 99 AT <there>"),
            (Shows, "BUCKET.DROP secret 2"),
            (Shows, "BUCKET.DROP secret 2 AT <there>"),
        ],
        "bucket.stat" => &[(Shows, "BUCKET.STAT secret")],
        "bucket.lease" => &[
            (Both, "BUCKET.LEASE secret 99 1"),
            (Both, "BUCKET.LEASE secret 3 1000 AT <here>"),
            (Changes, "BUCKET.LEASE secret 99 1 AT <there>"),
            (Shows, "BUCKET.LEASE secret 2 1"),
            (Shows, "BUCKET.LEASE secret 2 1 AT <there>"),
        ],
        "bucket.list" => &[(Shows, "BUCKET.LIST 0 COUNT 10000")],
        _ => return None,
    })
}

fn others(command: &str) -> Option<&'static [(Reach, &'static str)]> {
    Some(match command {
        "tenant.stat" => &[(Shows, "TENANT.STAT"), (Shows, "TENANT.STAT <victim>")],
        "tenant.set" => &[
            (Both, "TENANT.SET <victim> HARD 1"),
            (Both, "TENANT.SET <victim> SOFT 1 FLIGHT 1"),
        ],
        "tenant.list" => &[(Shows, "TENANT.LIST")],
        "hello" => &[
            (Shows, "HELLO 3 AUTH <victim> <password>"),
            (Nothing, "HELLO 2"),
        ],
        "auth" => &[
            (Shows, "AUTH <victim> <password>"),
            (Shows, "AUTH <victim> <signed>"),
        ],
        "client" => &[
            (Nothing, "CLIENT LIST"),
            (Nothing, "CLIENT KILL ID 1"),
            (Nothing, "CLIENT GETNAME"),
        ],
        "config" => &[(Shows, "CONFIG GET *"), (Nothing, "CONFIG SET maxmemory 1")],
        "info" => &[(Shows, "INFO"), (Shows, "INFO keyspace")],
        "command" => &[(Nothing, "COMMAND"), (Nothing, "COMMAND COUNT")],
        "select" => &[(Nothing, "SELECT 0"), (Nothing, "SELECT 1")],
        "quit" => &[(Nothing, "QUIT")],
        "reset" => &[(Nothing, "RESET")],
        "ping" => &[(Nothing, "PING"), (Nothing, "PING plain")],
        "echo" => &[(Nothing, "ECHO {secret}a")],
        _ => return None,
    })
}
