//! What each command does: who may call it, with how many arguments, and what it is answered.

mod buckets;
mod client;
mod expiry;
mod introspection;
mod keys;
mod puts;
mod references;
mod strings;
mod tenants;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use tokio::task::JoinHandle;

use super::clock::{now_ms, unix_ms};
use super::fault::Fault;
use super::session::{Session, Shared, Speaker};
use super::wait::Wait;
use crate::credential::StepCredential;
use crate::store::{InFlight, Key, Reserved, Tenant, Value};
use crate::wire::{Args, Body, Outbox, number};
pub(crate) use buckets::not_done;
pub(crate) use puts::Copying;

/// A call of a command, and all that it may need.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) session: &'a mut Session,
    pub(crate) out: &'a mut Outbox,
    pub(crate) now_ms: u64,
}

/// What comes after a command.
#[derive(Debug)]
pub(crate) enum Next {
    Done,
    Close,
    Wait(Wait),
    /// Once something was done elsewhere, the command is carried out from its beginning.
    Again(JoinHandle<Result<(), Fault>>),
}

type Run = fn(&mut Call<'_>, &mut Args<'_>) -> Result<Next, Fault>;

/// Who may call a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Anybody,
    Somebody,
    Tenant,
    Admin,
}

/// A command, as `COMMAND` tells of it.
#[derive(Debug)]
struct Command {
    name: &'static str,
    /// Arguments with the name; at least so many where it is negative.
    arity: i32,
    access: Access,
    /// Whether arguments may be values of any size.
    is_put: bool,
    /// Whether what is held is another afterwards.
    is_change: bool,
    /// Whether values are read: those on disk are brought back first.
    is_read: bool,
    /// Where keys stand: the first, the last, and how far apart.
    keys: (i32, i32, i32),
    run: Run,
}

const fn command(name: &'static str, arity: i32, access: Access, run: Run) -> Command {
    Command {
        name,
        arity,
        access,
        is_put: false,
        is_change: false,
        is_read: false,
        keys: (0, 0, 0),
        run,
    }
}

/// One on a key.
const fn on_key(name: &'static str, arity: i32, run: Run) -> Command {
    Command {
        keys: (1, 1, 1),
        ..command(name, arity, Access::Tenant, run)
    }
}

/// One that reads a value.
const fn reads(of: Command) -> Command {
    Command {
        is_read: true,
        ..of
    }
}

/// One that changes what is held.
const fn changes(of: Command) -> Command {
    Command {
        is_change: true,
        ..of
    }
}

/// One that puts a value.
const fn puts(name: &'static str, arity: i32, run: Run) -> Command {
    Command {
        is_put: true,
        ..changes(on_key(name, arity, run))
    }
}

/// One on many keys.
const fn on_keys(name: &'static str, arity: i32, run: Run) -> Command {
    Command {
        keys: (1, -1, 1),
        ..command(name, arity, Access::Tenant, run)
    }
}

static COMMANDS: &[Command] = &[
    reads(on_key("get", 2, strings::get)),
    reads(puts("set", -3, puts::set)),
    puts("setnx", 3, puts::setnx),
    puts("setex", 4, puts::setex),
    puts("psetex", 4, puts::psetex),
    reads(puts("getset", 3, puts::getset)),
    reads(puts("append", 3, strings::append)),
    Command {
        keys: (1, -1, 2),
        ..puts("mset", -3, strings::mset)
    },
    reads(on_keys("mget", -2, strings::mget)),
    changes(reads(on_key("getdel", 2, strings::getdel))),
    changes(reads(on_key("getex", -2, strings::getex))),
    reads(on_key("getrange", 4, strings::getrange)),
    reads(on_key("substr", 4, strings::getrange)),
    on_key("strlen", 2, strings::strlen),
    changes(on_keys("del", -2, keys::del)),
    changes(on_keys("unlink", -2, keys::del)),
    on_keys("exists", -2, keys::exists),
    on_key("type", 2, keys::kind),
    command("scan", -2, Access::Tenant, keys::scan),
    command("dbsize", 1, Access::Tenant, keys::dbsize),
    changes(command("flushdb", -1, Access::Tenant, keys::flushdb)),
    changes(command("flushall", -1, Access::Tenant, keys::flushdb)),
    changes(on_key("expire", -3, expiry::expire)),
    changes(on_key("pexpire", -3, expiry::pexpire)),
    changes(on_key("expireat", -3, expiry::expireat)),
    changes(on_key("pexpireat", -3, expiry::pexpireat)),
    on_key("ttl", 2, expiry::ttl),
    on_key("pttl", 2, expiry::pttl),
    on_key("expiretime", 2, expiry::expiretime),
    on_key("pexpiretime", 2, expiry::pexpiretime),
    changes(on_key("persist", 2, expiry::persist)),
    changes(on_key("keep", 3, buckets::keep)),
    reads(on_key("block.get", 3, buckets::block_get)),
    on_key("bucket.ref", 2, references::bucket_ref),
    command("ref.get", 2, Access::Tenant, references::ref_get),
    changes(command(
        "bucket.drop",
        -3,
        Access::Tenant,
        buckets::drop_bucket,
    )),
    command("bucket.stat", 2, Access::Tenant, buckets::stat),
    changes(command("bucket.lease", -4, Access::Tenant, buckets::lease)),
    command("bucket.list", -2, Access::Tenant, buckets::list),
    command("tenant.stat", -1, Access::Somebody, tenants::stat),
    changes(command("tenant.set", -4, Access::Admin, tenants::set)),
    command("tenant.list", 1, Access::Admin, tenants::list),
    command("hello", -1, Access::Anybody, client::hello),
    command("auth", -2, Access::Anybody, client::auth),
    command("quit", -1, Access::Anybody, client::quit),
    command("reset", 1, Access::Anybody, client::reset),
    command("ping", -1, Access::Somebody, client::ping),
    command("echo", 2, Access::Somebody, client::echo),
    command("select", 2, Access::Somebody, client::select),
    command("client", -2, Access::Somebody, client::client),
    command("command", -1, Access::Somebody, introspection::command),
    command("config", -2, Access::Somebody, introspection::config),
    command("info", -1, Access::Somebody, introspection::info),
];

/// Longer names are of no command.
const NAME_MAX: usize = 16;

static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Command, RandomState>> =
    LazyLock::new(|| {
        let named = COMMANDS.iter().map(|it| (it.name.as_bytes(), it));
        named.collect()
    });

fn find(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; NAME_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// Decides whether an argument of so many bytes is received, before it is: what is set aside for it.
pub(crate) fn admit(
    shared: &Shared,
    session: &Session,
    args: &Args<'_>,
    bytes: usize,
) -> Result<(Reserved, InFlight), Fault> {
    let command = find(args.name()).ok_or_else(|| unknown(args))?;
    allow(command, session, shared)?;
    allow_step(command, session, args)?;
    if !command.is_put {
        let name = command.name;
        return Err(Fault::new(format!(
            "ERR argument of '{name}' is {bytes} bytes, limit 16384"
        )));
    }
    if bytes > shared.value_bytes_max {
        let limit = shared.value_bytes_max;
        return Err(Fault::new(format!(
            "ERR value is {bytes} bytes, limit {limit}; split it, or raise TURLOUGH_STORE_VALUE_BYTES_MAX"
        )));
    }
    let tenant = session.tenant().ok_or_else(no_tenant)?;
    let flight = tenant.fly(bytes as u64)?;
    Ok((tenant.reserve(bytes as u64)?, flight))
}

fn unknown(args: &Args<'_>) -> Fault {
    let shown = |n: usize| {
        let text = args.get(n).unwrap_or_default();
        text[..text.len().min(128)].escape_ascii().to_string()
    };
    let with: String = (1..args.len().min(9))
        .map(|n| format!("'{}' ", shown(n)))
        .collect();
    Fault::new(format!(
        "ERR unknown command '{}', with args beginning with: {with}",
        shown(0)
    ))
}

fn no_tenant() -> Fault {
    Fault::new("NOPERM this user administers tenants, and has no data")
}

fn allow(command: &Command, session: &Session, shared: &Shared) -> Result<(), Fault> {
    match (command.access, &session.speaker) {
        (Access::Anybody, _)
        | (Access::Somebody, Speaker::Tenant(_) | Speaker::Step(..) | Speaker::Admin)
        | (Access::Tenant, Speaker::Tenant(_) | Speaker::Step(..))
        | (Access::Admin, Speaker::Admin) => Ok(()),
        (_, Speaker::Nobody) if shared.secrets.is_open() => Err(Fault::new(format!(
            "NOAUTH nobody has a password here, and so only clients on the store's own host are served; put one into {}",
            shared.secrets.place()
        ))),
        (_, Speaker::Nobody) => Err(Fault::new("NOAUTH Authentication required.")),
        (Access::Admin, Speaker::Tenant(_) | Speaker::Step(..)) => Err(Fault::new(format!(
            "NOPERM this user has no permissions to run the '{}' command",
            command.name
        ))),
        (Access::Tenant, Speaker::Admin) => Err(no_tenant()),
    }
}

/// What a function does with the credential of a step: other commands are not for it.
const FOR_STEPS: &[&str] = &[
    "get",
    "mget",
    "getrange",
    "substr",
    "strlen",
    "exists",
    "type",
    "set",
    "setnx",
    "bucket.ref",
    "ref.get",
    "block.get",
];
/// What is no data, and so for everybody.
const FOR_ALL: &[&str] = &[
    "hello", "auth", "quit", "reset", "ping", "echo", "select", "client", "command", "config",
];

/// Whether a step's credential goes so far. References are looked into where they are read.
fn allow_step(command: &Command, session: &Session, args: &Args<'_>) -> Result<(), Fault> {
    let Some(step) = session.step() else {
        return Ok(());
    };
    if FOR_ALL.contains(&command.name) {
        return Ok(());
    }
    if !step.holds(unix_ms()) {
        return Err(Fault::new("NOAUTH credential has expired"));
    }
    if !FOR_STEPS.contains(&command.name) {
        return Err(Fault::new(format!(
            "NOPERM a step's credential has no permissions to run the '{}' command",
            command.name
        )));
    }
    for key in command.keys_of(args) {
        allow_key(step, key, command.is_put)?;
    }
    Ok(())
}

fn allow_key(step: &StepCredential, key: &[u8], is_put: bool) -> Result<(), Fault> {
    let (may, what) = match is_put {
        true => (step.may_write(key), "written"),
        false => (step.may_read(key), "read"),
    };
    if may {
        return Ok(());
    }
    let key = key.escape_ascii();
    Err(Fault::new(format!(
        "NOPERM key {key} is none that this step's credential lets be {what}"
    )))
}

impl Command {
    /// The keys among its arguments.
    fn keys_of<'a>(&self, args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        let (first, last, apart) = self.keys;
        // None where the first is 0; the last is counted from the end where it is negative.
        let first = usize::try_from(first).ok().filter(|first| *first > 0);
        let last = usize::try_from(last).unwrap_or(args.len().saturating_sub(1));
        let apart = usize::try_from(apart).unwrap_or(1).max(1);
        let places = first.map(|first| (first..=last).step_by(apart));
        places.into_iter().flatten().filter_map(|n| args.get(n))
    }
}

impl Call<'_> {
    /// Carries a command out and answers it. `refused` is why one of its arguments was not received.
    pub(crate) fn answer(&mut self, mut args: Args<'_>, refused: Option<Fault>) -> Next {
        if args.len() == 0 {
            return Next::Done;
        }
        let done = match refused {
            Some(fault) => Err(fault),
            None => self.run(&mut args),
        };
        done.unwrap_or_else(|fault| {
            self.out.error(&fault.0);
            Next::Done
        })
    }

    fn run(&mut self, args: &mut Args<'_>) -> Result<Next, Fault> {
        let command = find(args.name()).ok_or_else(|| unknown(args))?;
        allow(command, self.session, self.shared)?;
        allow_step(command, self.session, args)?;
        let given = i32::try_from(args.len()).unwrap_or(i32::MAX);
        let fits = match command.arity {
            exact @ 0.. => given == exact,
            least => given >= -least,
        };
        if !fits {
            return Err(Fault::arity(command.name));
        }
        if command.is_read
            && self.shared.store.has_spilled()
            && let Some(next) = self.bring_back(command, args)
        {
            return Ok(next);
        }
        (command.run)(self, args)
    }

    /// Has values that lie on disk brought back, before they are read.
    fn bring_back(&self, command: &Command, args: &Args<'_>) -> Option<Next> {
        let keys = command.keys_of(args).filter_map(|key| Key::parse(key).ok());
        self.load(&keys.collect::<Vec<_>>())
    }

    fn load(&self, keys: &[Key<'_>]) -> Option<Next> {
        let tenant = self.session.tenant()?;
        let away = tenant.away(keys, self.shared.value_bytes_max, self.now_ms);
        if away.is_empty() {
            return None;
        }
        let tenant = Arc::clone(tenant);
        Some(Next::Again(tokio::task::spawn_blocking(move || {
            for key in &away {
                tenant.bring_back(&Key::parse(key)?, now_ms)?;
            }
            Ok(())
        })))
    }

    fn tenant(&self) -> Result<Arc<Tenant>, Fault> {
        self.session.tenant().cloned().ok_or_else(no_tenant)
    }

    fn ok(&mut self) -> Result<Next, Fault> {
        self.out.ok();
        Ok(Next::Done)
    }

    fn int(&mut self, number: i64) -> Result<Next, Fault> {
        self.out.int(number);
        Ok(Next::Done)
    }
}

/// The name of the command, as it is said in errors.
fn said(args: &Args<'_>) -> String {
    args.name().to_ascii_lowercase().escape_ascii().to_string()
}

/// An argument that is no value.
fn text<'a>(args: &Args<'a>, n: usize) -> Result<&'a [u8], Fault> {
    args.get(n).ok_or_else(|| {
        let name = said(args);
        Fault::new(format!("ERR argument {n} of '{name}' is over 16384 bytes"))
    })
}

fn key<'a>(args: &Args<'a>, n: usize) -> Result<Key<'a>, Fault> {
    Ok(Key::parse(text(args, n)?)?)
}

fn integer(args: &Args<'_>, n: usize) -> Result<i64, Fault> {
    number(text(args, n)?).ok_or_else(Fault::no_integer)
}

/// A whole number that is not negative.
fn natural(args: &Args<'_>, n: usize) -> Result<u64, Fault> {
    u64::try_from(integer(args, n)?).map_err(|_| Fault::no_integer())
}

/// The name of a bucket, as it stands between braces.
fn bucket<'a>(args: &Args<'a>, n: usize) -> Result<&'a [u8], Fault> {
    let name = text(args, n)?;
    let is_name = !name.is_empty() && name.len() <= 510 && !name.contains(&b'}');
    is_name
        .then_some(name)
        .ok_or_else(|| Fault::new("ERR a bucket's name is 1 to 510 bytes, without a closing brace"))
}

/// An argument that is a word of a command.
fn is_word(args: &Args<'_>, n: usize, word: &str) -> bool {
    args.get(n)
        .is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
}

/// A value, and what was set aside for it. What is in flight ends with the call.
fn value<'a>(
    args: &mut Args<'a>,
    n: usize,
) -> Result<(Value<'a>, Option<Reserved>, Option<InFlight>), Fault> {
    if let Some(bytes) = args.get(n) {
        return Ok((Value::Small(bytes), None, None));
    }
    match args.body(n) {
        Some(Body::Held {
            blob,
            reserved,
            flight,
        }) => Ok((Value::Large(Arc::new(blob)), Some(reserved), Some(flight))),
        // What was skipped was refused before.
        Some(Body::Skipped) | None => Err(Fault::syntax()),
    }
}
