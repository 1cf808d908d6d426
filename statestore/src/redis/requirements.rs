//! What a Redis must be, to keep the state of requests.

use std::collections::HashMap;

/// Trimming a stream by its least id came with this one.
const VERSION_MIN: (u32, u32) = (6, 2);

/// Why a server that says this of itself (`INFO`) cannot keep the state, and what to do.
pub(super) fn unmet(info: &str) -> Option<String> {
    let lines = info.lines().filter_map(|line| line.trim().split_once(':'));
    let says: HashMap<_, _> = lines.collect();
    let of = |name| says.get(name).copied().unwrap_or("unknown");
    let version = of("redis_version");
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return Some(format!(
            "it is version {version}, and {major}.{minor} is needed; run a newer one"
        ));
    }
    if of("redis_mode") == "cluster" || of("cluster_enabled") == "1" {
        return Some(
            "it is a node of a cluster, which is not supported: the state of a tenant fits one node; \
             name a server that is none"
                .to_owned(),
        );
    }
    if of("role") == "slave" {
        return Some("it is a replica of another server; name that one".to_owned());
    }
    let policy = of("maxmemory_policy");
    if policy != "noeviction" {
        return Some(format!(
            "its maxmemory-policy is {policy}, by which it takes away what is still needed; set it to \
             noeviction"
        ));
    }
    None
}

/// Whether what is stored is gone with the server, or much of it.
pub(super) fn forgets(info: &str) -> bool {
    !info.lines().any(|line| line.trim() == "aof_enabled:1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changed: &str, expect: Option<&str>) {
        let mut lines = vec![
            "# Server",
            "redis_version:7.0.15",
            "redis_mode:standalone",
            "role:master",
            "maxmemory_policy:noeviction",
            "cluster_enabled:0",
        ];
        if let Some((name, _)) = changed.split_once(':') {
            lines.retain(|line| !line.starts_with(name));
            lines.push(changed);
        }
        let found = unmet(&lines.join("\r\n"));
        match expect {
            None => assert_eq!(found, None),
            Some(text) => assert!(
                found.as_ref().is_some_and(|found| found.contains(text)),
                "{found:?}"
            ),
        }
    }

    #[test]
    fn a_server_that_may_forget_or_is_too_old_is_refused_by_name() {
        check("", None);
        check("redis_version:6.2.0", None);
        check("redis_version:10.0.0", None);
        check(
            "redis_version:6.0.16",
            Some("it is version 6.0.16, and 6.2 is needed"),
        );
        check("redis_version:", Some("6.2 is needed"));
        check("redis_mode:cluster", Some("node of a cluster"));
        check("role:slave", Some("replica of another"));
        check(
            "maxmemory_policy:allkeys-lru",
            Some("maxmemory-policy is allkeys-lru"),
        );
    }
}
