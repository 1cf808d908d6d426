//! The name and password that a gateway asks for under `/system/`: as they are given, or as `faas-cli
//! login` stored them for this very gateway.
//!
//! Invariants: a password that was stored for one gateway is never sent to another; none is ever shown.
//! Tokens of `faas-cli` (oauth2) are deliberately absent.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::exit::Failure;

/// The user of an OpenFaaS gateway that nobody has renamed.
const USER_DEFAULT: &str = "admin";

/// The settings by which a process says who it is.
pub(crate) const USER: &str = "TURLOUGH_GATEWAY_USER";
pub(crate) const PASSWORD: &str = "TURLOUGH_GATEWAY_PASSWORD";
pub(crate) const PASSWORD_FROM: &str = "TURLOUGH_GATEWAY_PASSWORD_FILE";

/// As OpenFaaS names them.
const USER_FILE: &str = "basic-auth-user";
pub(crate) const PASSWORD_FILE: &str = "basic-auth-password";

/// Who asks, where the gateway wants to know.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platform")]
pub(crate) struct LoginArguments {
    /// User of a gateway that asks for a password [default: what `faas-cli login` stored, else admin]
    #[arg(
        long,
        global = true,
        env = USER,
        value_name = "NAME"
    )]
    username: Option<String>,

    /// File that holds the user's password; TURLOUGH_GATEWAY_PASSWORD may hold it instead
    #[arg(
        long,
        global = true,
        env = PASSWORD_FROM,
        value_name = "FILE"
    )]
    password_file: Option<PathBuf>,
}

/// A user's name and password, for one gateway.
#[derive(Clone)]
pub(crate) struct Credentials {
    user: String,
    header: HeaderValue,
}

/// What `faas-cli login` keeps.
#[derive(Debug, Default, Deserialize)]
struct Stored {
    #[serde(default)]
    auths: Vec<StoredLogin>,
}

#[derive(Debug, Deserialize)]
struct StoredLogin {
    #[serde(default)]
    gateway: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    token: String,
}

impl LoginArguments {
    /// What is to be sent to this gateway, if anything is known.
    pub(crate) fn credentials(&self, gateway: &Url) -> Result<Option<Credentials>, Failure> {
        let password = match &self.password_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read the password file `{}`", file.display()))
                    .map_err(Failure::input)?,
            ),
            None => std::env::var(PASSWORD).ok(),
        };
        let password = password.map(|text| text.trim().to_owned());
        let user = self.username.as_deref().filter(|user| !user.is_empty());
        match (user, password.filter(|password| !password.is_empty())) {
            (user, Some(password)) => {
                Credentials::new(user.unwrap_or(USER_DEFAULT), &password).map(Some)
            }
            (None, None) if self.password_file.is_none() => stored(gateway),
            (None, None) => Err(Failure::input(anyhow!("the password file is empty"))),
            (Some(user), None) => {
                let found = stored(gateway)?.filter(|found| found.user == user);
                let text = format!(
                    "user `{user}` has no password; write it to a file and name that with --password-file \
                     or TURLOUGH_GATEWAY_PASSWORD_FILE"
                );
                found.map(Some).ok_or_else(|| Failure::input(anyhow!(text)))
            }
        }
    }
}

impl Credentials {
    pub(crate) fn new(user: &str, password: &str) -> Result<Self, Failure> {
        if user.contains(':') {
            let text = format!("user `{user}` holds a `:`, which ends a user's name");
            return Err(Failure::input(anyhow!(text)));
        }
        let text = STANDARD.encode(format!("{user}:{password}"));
        let mut header = HeaderValue::from_str(&format!("Basic {text}")).map_err(Failure::input)?;
        header.set_sensitive(true);
        Ok(Self {
            user: user.to_owned(),
            header,
        })
    }

    /// What a gateway's own folder says (`--basic-auth`).
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let file = folder.join(name);
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| format!("cannot read `{}`", file.display()));
            text.map(|text| text.trim().to_owned())
                .map_err(Failure::input)
        };
        Self::new(&read(USER_FILE)?, &read(PASSWORD_FILE)?)
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// What `faas-cli login` stored for this gateway.
fn stored(gateway: &Url) -> Result<Option<Credentials>, Failure> {
    let Some(file) = stored_file() else {
        return Ok(None);
    };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::input(anyhow!(
                "cannot read `{}`, where faas-cli keeps logins: {error}; --password-file names a password \
                 without it",
                file.display()
            )));
        }
    };
    login(&text, gateway).map_err(|why| {
        Failure::input(anyhow!(
            "cannot use `{}`, where faas-cli keeps logins: {why}; log in again with `faas-cli login`",
            file.display()
        ))
    })
}

/// `config.yml` in the folder that faas-cli takes: `OPENFAAS_CONFIG`, in CI `.openfaas` here, otherwise
/// `.openfaas` at home.
fn stored_file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let home = || variable("HOME").map(PathBuf::from);
    let in_ci = matches!(variable("CI").as_deref(), Some("true" | "1"));
    let folder = match variable("OPENFAAS_CONFIG") {
        Some(folder) => match folder.strip_prefix("~/") {
            Some(below) => home()?.join(below),
            None => folder.into(),
        },
        None if in_ci => ".openfaas".into(),
        None => home()?.join(".openfaas"),
    };
    Some(folder.join("config.yml"))
}

/// The login of this gateway; what is wrong is told without what it says.
fn login(text: &str, gateway: &Url) -> Result<Option<Credentials>, &'static str> {
    // faas-cli leaves an empty file where nobody is logged in.
    let stored: Option<Stored> =
        serde_saphyr::from_str(text).map_err(|_| "it is not the YAML of faas-cli")?;
    let auths = stored.unwrap_or_default().auths;
    let is_meant = |login: &&StoredLogin| is_same(&login.gateway, gateway);
    let Some(login) = auths.iter().find(is_meant) else {
        return Ok(None);
    };
    if login.auth != "basic" {
        return Ok(None);
    }
    let decoded = STANDARD.decode(login.token.trim()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (user, password) =
        pair.ok_or("the token of this gateway is not a user's name and password in base64")?;
    let credentials = Credentials::new(user, password);
    credentials.map(Some).map_err(|_| "the name is no name")
}

/// Whether a stored URL means the gateway: the same scheme, host, port and path.
fn is_same(stored: &str, gateway: &Url) -> bool {
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    Url::parse(stored)
        .is_ok_and(|stored| stored.origin() == gateway.origin() && path(&stored) == path(gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "auths:
- gateway: http://127.0.0.1:8080
  auth: basic
  token: YWRtaW46czNjOnJldA==
- gateway: http://gateway.example/faas
  auth: oauth2
  token: abc
- gateway: http://broken.example
  auth: basic
  token: '???'
";

    fn user_at(gateway: &str) -> Result<Option<String>, &'static str> {
        let found = login(STORED, &gateway.parse().unwrap())?;
        Ok(found.map(|it| format!("{}: {}", it.user(), it.header().to_str().unwrap())))
    }

    #[test]
    fn stored_login_is_that_of_this_gateway_alone() {
        let admin = Some("admin: Basic YWRtaW46czNjOnJldA==".to_owned());
        assert_eq!(user_at("http://127.0.0.1:8080").unwrap(), admin);
        assert_eq!(user_at("http://127.0.0.1:8080/").unwrap(), admin);
        for other in [
            "http://127.0.0.1:8081",
            "http://127.0.0.1",
            "https://127.0.0.1:8080",
            "http://localhost:8080",
            "http://127.0.0.1:8080/other",
            "http://gateway.example/faas",
        ] {
            assert_eq!(user_at(other).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn store_that_is_empty_holds_nothing_and_one_that_is_broken_says_so() {
        let gateway = "http://broken.example".parse().unwrap();
        assert!(login("", &gateway).unwrap().is_none());
        assert!(login("auths: []\n", &gateway).unwrap().is_none());
        assert!(login("auths: [", &gateway).unwrap_err().contains("YAML"));
        assert!(
            user_at("http://broken.example")
                .unwrap_err()
                .contains("base64")
        );
    }

    #[test]
    fn password_is_never_shown() {
        let credentials = Credentials::new("admin", "s3cret").unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials(admin)");
        assert!(Credentials::new("a:b", "c").is_err());
    }
}
