//! What a client says of itself, and asks of the connection.

use super::{Call, Next, is_word, text};
use crate::server::fault::Fault;
use crate::server::secrets::DEFAULT;
use crate::server::wait::Wait;
use crate::wire::{Args, Version, number};

/// A client's name for itself, in bytes.
const NAME_BYTES_MAX: usize = 256;

pub(super) fn hello(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let version = match args.get(1).map(number) {
        None => call.out.version,
        Some(Some(2)) => Version::Two,
        Some(Some(3)) => Version::Three,
        Some(Some(_)) => return Err(Fault::new("NOPROTO unsupported protocol version")),
        Some(None) => {
            return Err(Fault::new(
                "ERR Protocol version is not an integer or out of range",
            ));
        }
    };
    let (mut user, mut name) = (None, None);
    let mut n = 2;
    while n < args.len() {
        if is_word(args, n, "auth") && n + 2 < args.len() {
            user = Some((text(args, n + 1)?, text(args, n + 2)?));
            n += 3;
        } else if is_word(args, n, "setname") && n + 1 < args.len() {
            name = Some(named(text(args, n + 1)?)?);
            n += 2;
        } else {
            let option = args.get(n).unwrap_or_default().escape_ascii();
            return Err(Fault::new(format!(
                "ERR Syntax error in HELLO option '{option}'"
            )));
        }
    }
    if let Some((user, password)) = user
        && let Some(wrong) = sign_in(call, user, password)?
    {
        return Ok(wrong);
    }
    if !call.session.is_somebody() {
        return Err(Fault::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        call.session.name = name;
    }
    call.out.version = version;
    greet(call);
    Ok(Next::Done)
}

fn greet(call: &mut Call<'_>) {
    call.out.map(7);
    for (name, text) in [
        ("server", "turlough-datastore"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("mode", "standalone"),
        ("role", "master"),
    ] {
        call.out.bulk(name.as_bytes());
        call.out.bulk(text.as_bytes());
    }
    call.out.bulk(b"proto");
    call.out.int(match call.out.version {
        Version::Two => 2,
        Version::Three => 3,
    });
    call.out.bulk(b"id");
    call.out.count(call.session.id);
    call.out.bulk(b"modules");
    call.out.array(0);
}

pub(super) fn auth(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    let (user, password) = match args.len() {
        2 => (DEFAULT.as_bytes(), text(args, 1)?),
        3 => (text(args, 1)?, text(args, 2)?),
        _ => return Err(Fault::syntax()),
    };
    match sign_in(call, user, password)? {
        None => call.ok(),
        Some(wrong) => Ok(wrong),
    }
}

/// Becomes who has this name and this password. The answer to a wrong one comes late, and while many wait
/// none is looked at.
fn sign_in(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Result<Option<Next>, Fault> {
    let (shared, origin, now_ms) = (call.shared, call.session.origin, call.now_ms);
    if let Some(wait_ms) = shared.guesses.wait_ms(origin, now_ms) {
        return Err(Fault::new(format!(
            "ERR too many wrong passwords come from where you are, this one was not looked at; try again in {wait_ms} ms"
        )));
    }
    let signed_in = call.session.authenticate(shared, user, password, now_ms);
    Ok(signed_in.err().map(|fault| {
        let pause = shared.guesses.wrong(origin, now_ms);
        Next::Wait(Wait::Pause {
            until: Box::pin(tokio::time::sleep(pause)),
            fault,
        })
    }))
}

pub(super) fn quit(call: &mut Call<'_>, _: &mut Args<'_>) -> Result<Next, Fault> {
    call.out.ok();
    Ok(Next::Close)
}

pub(super) fn reset(call: &mut Call<'_>, _: &mut Args<'_>) -> Result<Next, Fault> {
    call.session.reset();
    call.out.version = Version::Two;
    call.out.simple("RESET");
    Ok(Next::Done)
}

pub(super) fn ping(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    match args.len() {
        1 => call.out.simple("PONG"),
        2 => return echo(call, args),
        _ => return Err(Fault::arity("ping")),
    }
    Ok(Next::Done)
}

pub(super) fn echo(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    call.out.bulk(text(args, 1)?);
    Ok(Next::Done)
}

pub(super) fn select(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    match number(text(args, 1)?) {
        Some(0) => call.ok(),
        Some(_) => Err(Fault::new("ERR DB index is out of range")),
        None => Err(Fault::no_integer()),
    }
}

fn named(name: &[u8]) -> Result<Vec<u8>, Fault> {
    let is_name = name.iter().all(u8::is_ascii_graphic) && name.len() <= NAME_BYTES_MAX;
    is_name.then(|| name.to_vec()).ok_or_else(|| {
        Fault::new("ERR Client names cannot contain spaces, newlines or special characters.")
    })
}

pub(super) fn client(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    match args.len() {
        2 if is_word(args, 1, "id") => call.out.count(call.session.id),
        2 if is_word(args, 1, "getname") && call.session.name.is_empty() => call.out.null(),
        2 if is_word(args, 1, "getname") => call.out.bulk(&call.session.name),
        3 if is_word(args, 1, "setname") => {
            call.session.name = named(text(args, 2)?)?;
            call.out.ok();
        }
        4 if is_word(args, 1, "setinfo") => {
            // What library it is, which nobody asks.
            named(text(args, 3)?)?;
            call.out.ok();
        }
        _ => {
            let sub = args.get(1).unwrap_or_default().escape_ascii();
            return Err(Fault::new(format!(
                "ERR unknown subcommand or wrong number of arguments for '{sub}'. Try ID, GETNAME, SETNAME, SETINFO."
            )));
        }
    }
    Ok(Next::Done)
}
