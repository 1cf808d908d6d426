//! What the store says of itself: to a tenant nothing of what others hold.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::{COMMANDS, Call, Command, Next, is_word, text};
use crate::server::fault::Fault;
use crate::store::glob;
use crate::wire::{Args, Version};

/// What `INFO` says that Redis is whose commands these are.
const REDIS: &str = "7.0.0";

pub(super) fn command(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    if args.len() == 1 {
        call.out.array(COMMANDS.len());
        COMMANDS.iter().for_each(|command| tell(call, command));
    } else if is_word(args, 1, "count") {
        call.out.count(COMMANDS.len() as u64);
    } else if is_word(args, 1, "info") {
        call.out.array(args.len() - 2);
        for n in 2..args.len() {
            match super::find(text(args, n)?) {
                Some(command) => tell(call, command),
                None => call.out.null(),
            }
        }
    } else if is_word(args, 1, "docs") {
        let named = (2..args.len()).filter_map(|n| super::find(args.get(n)?));
        let all: Vec<_> = match args.len() {
            2 => COMMANDS.iter().collect(),
            _ => named.collect(),
        };
        call.out.map(all.len());
        for command in all {
            call.out.bulk(command.name.as_bytes());
            call.out.map(1);
            call.out.bulk(b"arity");
            call.out.int(i64::from(command.arity));
        }
    } else {
        return Err(Fault::new("ERR unknown subcommand. Try COUNT, INFO, DOCS."));
    }
    Ok(Next::Done)
}

fn tell(call: &mut Call<'_>, command: &Command) {
    call.out.array(6);
    call.out.bulk(command.name.as_bytes());
    call.out.int(i64::from(command.arity));
    call.out.array(1);
    let flag = if command.is_change {
        "write"
    } else {
        "readonly"
    };
    call.out.simple(flag);
    let (first, last, step) = command.keys;
    for number in [first, last, step] {
        call.out.int(i64::from(number));
    }
}

pub(super) fn config(call: &mut Call<'_>, args: &mut Args<'_>) -> Result<Next, Fault> {
    if !is_word(args, 1, "get") {
        return Err(Fault::new(
            "ERR settings are the process's own; see turlough-datastore --help. Only CONFIG GET is here",
        ));
    }
    if args.len() < 3 {
        return Err(Fault::arity("config|get"));
    }
    let hard = call
        .session
        .tenant()
        .map_or(0, |tenant| tenant.quota().hard);
    let value_max = call.shared.value_bytes_max;
    let all = [
        ("save", String::new()),
        ("appendonly", "no".to_owned()),
        ("maxmemory", hard.to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("proto-max-bulk-len", value_max.to_string()),
        ("databases", "1".to_owned()),
    ];
    let mut found = Vec::new();
    for (name, value) in all {
        for n in 2..args.len() {
            let pattern = text(args, n)?.to_ascii_lowercase();
            if glob::matches(&pattern, name.as_bytes()) {
                found.push((name, value));
                break;
            }
        }
    }
    call.out.map(found.len());
    for (name, value) in found {
        call.out.bulk(name.as_bytes());
        call.out.bulk(value.as_bytes());
    }
    Ok(Next::Done)
}

pub(super) fn info(call: &mut Call<'_>, _: &mut Args<'_>) -> Result<Next, Fault> {
    let shared = call.shared;
    let up_s = call.now_ms.saturating_sub(shared.started_ms) / 1_000;
    let mut text = format!(
        "# Server\r\nredis_version:{REDIS}\r\nturlough_version:{}\r\nredis_mode:standalone\r\nprocess_id:{}\r\nuptime_in_seconds:{up_s}\r\nturlough_boot:{:016x}\r\nturlough_address:{}\r\nturlough_lease_ms:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        shared.boot,
        shared.address,
        shared.store.lease_ms(),
    );
    if let Some(tenant) = call.session.tenant() {
        let (usage, quota) = (tenant.usage(call.now_ms), tenant.quota());
        // A string takes any text.
        let _ = write!(
            text,
            "\r\n# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n\r\n# Keyspace\r\n",
            usage.bytes, quota.hard
        );
        if usage.keys > 0 {
            let _ = write!(text, "db0:keys={},expires=0,avg_ttl=0\r\n", usage.keys);
        }
    } else {
        let (held, limit) = shared.store.held();
        let connections = shared.counts.connections.load(Ordering::Relaxed);
        let commands = shared.counts.commands.load(Ordering::Relaxed);
        let _ = write!(
            text,
            "\r\n# Clients\r\nconnected_clients:{connections}\r\n\r\n# Memory\r\nused_memory:{held}\r\nmaxmemory:{limit}\r\n\r\n# Stats\r\ntotal_commands_processed:{commands}\r\n"
        );
    }
    match call.out.version {
        Version::Two => call.out.bulk(text.as_bytes()),
        Version::Three => call.out.verbatim(&text),
    }
    Ok(Next::Done)
}
