//! Where values are kept, as `TURLOUGH_DATA` says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use turlough_sdk::TenantId;

use super::line::Password;

/// The port of a store's process.
const PORT: u16 = 7_700;

/// Where values are kept. It is shown without its passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum DataUrl {
    /// In this process: `memory:`.
    Memory,
    /// In a store's process: `turlough://host:port`, `turlough+tls://…` with TLS.
    Store(StoreUrl),
    /// In a store's process on this host: `unix:<path>`.
    Socket(PathBuf),
    /// In a Redis: `redis://host:port`, `rediss://…` with TLS, `redis+unix:///path` for a socket.
    Redis(String),
    /// In a cluster of them: `redis+cluster://host:port,host:port`, `rediss+cluster://…` with TLS.
    Cluster(String),
    /// In a folder: `file:<dir>`.
    Folder(PathBuf),
    /// In a bucket of S3: `s3://bucket/prefix`.
    Bucket {
        /// Its name.
        bucket: String,
        /// What all names begin with; may be empty.
        prefix: String,
    },
}

/// Where a store's process is, and who says so.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    pub(super) tenant: Option<TenantId>,
    pub(super) password: Option<Password>,
}

/// Why a text does not say where values are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "data {found:?} is not known; write memory:, turlough://host:7700, turlough+tls://host:7700, unix:<path>, redis://host:port, rediss://host:port, redis+unix:///path, redis+cluster://host:port,host:port, file:<dir> or s3://bucket/prefix"
)]
pub struct DataUrlError {
    found: String,
}

impl FromStr for DataUrl {
    type Err = DataUrlError;

    fn from_str(text: &str) -> Result<Self, DataUrlError> {
        parse(text).ok_or_else(|| {
            let found = shown(text).chars().take(200).collect();
            DataUrlError { found }
        })
    }
}

fn parse(text: &str) -> Option<DataUrl> {
    if text == "memory:" {
        return Some(DataUrl::Memory);
    }
    let path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
    if let Some(rest) = text.strip_prefix("unix:") {
        return path(rest).map(DataUrl::Socket);
    }
    if let Some(rest) = text.strip_prefix("file:") {
        return path(rest).map(DataUrl::Folder);
    }
    let (scheme, rest) = text.split_once("://")?;
    if rest.is_empty() {
        return None;
    }
    match scheme {
        "turlough" => StoreUrl::parse(rest, false).map(DataUrl::Store),
        "turlough+tls" => StoreUrl::parse(rest, true).map(DataUrl::Store),
        "redis" | "rediss" | "redis+unix" => Some(DataUrl::Redis(text.to_owned())),
        "redis+cluster" | "rediss+cluster" => Some(DataUrl::Cluster(text.to_owned())),
        "s3" => bucket(rest),
        _ => None,
    }
}

fn bucket(rest: &str) -> Option<DataUrl> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_known = !bucket.is_empty() && is_plain(bucket) && is_plain(prefix);
    is_known.then(|| DataUrl::Bucket {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

impl StoreUrl {
    /// `[tenant[:password]@]host[:port]`
    fn parse(rest: &str, is_tls: bool) -> Option<Self> {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (who, place) = match rest.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, rest),
        };
        let (host, port) = match place.rsplit_once(':') {
            // The colons of an address in brackets are its own.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (place, PORT),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let is_host = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || byte == b':');
        if !is_host || (host.contains(':') && bare.is_none()) {
            return None;
        }
        let (tenant, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            Some((tenant, password)) => (Some(tenant.parse().ok()?), decoded(password)?),
            None => (None, String::new()),
        };
        Some(Self {
            host: host.to_owned(),
            port,
            is_tls,
            tenant,
            password: (!password.is_empty()).then_some(Password(password)),
        })
    }
}

/// What stands for characters that have a meaning in an address: `%40` for `@`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Debug for DataUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DataUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Store(url) => fmt::Display::fmt(url, f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Redis(url) | Self::Cluster(url) => f.write_str(&shown(url)),
            Self::Folder(dir) => write!(f, "file:{}", dir.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls {
            "turlough+tls://"
        } else {
            "turlough://"
        })?;
        if let Some(tenant) = &self.tenant {
            write!(f, "{tenant}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An address alone: a password stands before an `@`, or in what is asked for.
fn shown(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let rest = match rest.rsplit_once('@') {
        Some((_, place)) if !scheme.ends_with("+unix") => place,
        _ => rest,
    };
    let place = rest.split_once('?').map_or(rest, |(place, _)| place);
    format!("{scheme}://{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("turlough://acme:s%40cret@h:7701", "turlough://acme@h:7701"),
            ("turlough+tls://acme:p@h", "turlough+tls://acme@h:7700"),
            ("redis://:p@s?s,x@h:6379/2", "redis://h:6379/2"),
            ("redis+cluster://a:b@h:1,i:2", "redis+cluster://h:1,i:2"),
            (
                "redis+unix:///run/a@b.sock?pass=p",
                "redis+unix:///run/a@b.sock",
            ),
        ] {
            let url: DataUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        let error = "turlough://UPPER:secret@h".parse::<DataUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn reads_what_it_writes_and_names_what_it_does_not_know() {
        for text in [
            "memory:",
            "turlough://127.0.0.1:7700",
            "turlough://acme@store-1:7700",
            "turlough+tls://[::1]:7701",
            "unix:/run/turlough/store.sock",
            "redis://127.0.0.1:6379/2",
            "rediss://redis.example.com",
            "redis+unix:///run/redis.sock",
            "redis+cluster://a:1,b:2",
            "rediss+cluster://a",
            "file:/var/lib/turlough",
            "file:data",
            "s3://bucket",
            "s3://bucket/some/prefix",
        ] {
            assert_eq!(text.parse::<DataUrl>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "memory",
            "file:",
            "unix:",
            "turlough://",
            "turlough://h:port",
            "turlough://::1",
            "turlough://a b",
            "redis://",
            "s3://",
            "s3:///prefix",
            "http://a",
            "/var/lib",
        ] {
            let error = text.parse::<DataUrl>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_store_is_named_with_its_tenant_and_password_where_they_are_said() {
        let check = |text: &str, expect: (&str, u16, Option<&str>, Option<&str>)| {
            let Ok(DataUrl::Store(url)) = text.parse() else {
                panic!("{text}")
            };
            let tenant = url.tenant.as_ref().map(TenantId::as_str);
            let password = url.password.as_ref().map(|it| it.0.as_str());
            assert_eq!((url.host.as_str(), url.port, tenant, password), expect);
        };
        check("turlough://h", ("h", 7700, None, None));
        check("turlough://h:1/", ("h", 1, None, None));
        check("turlough://acme@h", ("h", 7700, Some("acme"), None));
        check(
            "turlough://acme:a%40%3Ab@[::1]",
            ("::1", 7700, Some("acme"), Some("a@:b")),
        );
    }
}
