//! What the store and Redis are told, and where they answer otherwise.

/// Lines that both are told, one after the other, by redis-cli. What is answered must be the same.
pub(crate) const SAID: &str = r#"
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
EXPIRE n 100 NX XX
EXPIRE n 100 lt nx
EXPIRE n 100 GT LT
EXPIRE n x WHAT
EXPIRE none 1 WHAT
EXPIRE n 100 XX XX
PEXPIREAT n 99999999999000 NX GT
EXPIRE none 100 WHAT
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
pub(crate) const OTHERWISE: &[(&str, &str, &str)] = &[
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
];
const KEYS: &str = "a key is 1 to 512 bytes";
const ONE_SPACE: &str = "a tenant has one key space";
const PASSWORDS: &str = "a password that nobody set is wrong";
const SETTINGS: &str = "settings are those of the process";
const FEW: &str = "it has those that clients say by themselves";
const REST: &str = "what comes after all that is looked at is nothing, or an error";
const NATURAL: &str = "what counts is not negative";

/// Lines as somebody types them, with nothing that escapes them between.
pub(crate) const TYPED: &[&[u8]] = &[
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
