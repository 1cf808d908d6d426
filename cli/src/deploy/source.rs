//! What is deployed: a folder of this machine, or a git repository at a branch, a tag or a commit, which
//! the program `git` fetches into a folder of its own.
//!
//! Of a repository nothing but that one commit is fetched, nothing in it is run, and nobody is asked for a
//! password: what needs one is given it by git's own helpers, or by ssh's agent.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::Url;
use tempfile::TempDir;
use tokio::process::Command;

use crate::exit::Failure;
use crate::terminal::Terminal;

/// A pipeline's repository is small; whoever takes longer for one commit does not answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);

/// What git may be made to speak by whoever writes a URL: others run programs.
const SCHEMES: [&str; 4] = ["https", "http", "ssh", "file"];

/// How much of what git says is told.
const SAID_LINES_MAX: usize = 5;

/// A folder; that of a repository goes with it.
#[derive(Debug)]
pub(super) struct Source {
    folder: PathBuf,
    fetched: Option<TempDir>,
}

/// A repository, and which commit of it.
#[derive(Debug, PartialEq, Eq)]
struct Repository {
    url: String,
    reference: Option<String>,
}

impl Source {
    pub(super) async fn open(terminal: Terminal, text: &str) -> Result<Self, Failure> {
        let Some(repository) = Repository::parse(text)? else {
            let folder = PathBuf::from(text);
            if folder.is_dir() {
                return Ok(Self {
                    folder,
                    fetched: None,
                });
            }
            let text = format!(
                "`{text}` is no folder; name one with a stack.yaml or flows, or a git repository by \
                 https://…, ssh://…, git@HOST:PATH or file://…"
            );
            return Err(Failure::input(anyhow!(text)));
        };
        let fetched = tempfile::tempdir()
            .context("cannot make a folder for the repository")
            .map_err(Failure::platform)?;
        terminal.progress(&format!("fetching {}", repository.shown()));
        repository.fetch(fetched.path()).await?;
        Ok(Self {
            folder: fetched.path().to_owned(),
            fetched: Some(fetched),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is there after this command has ended.
    pub(super) fn stays(&self) -> bool {
        self.fetched.is_none()
    }
}

impl Repository {
    /// None for what is a path. What git would take for an option, or for a program to run, is refused.
    fn parse(text: &str) -> Result<Option<Self>, Failure> {
        let (url, reference) = match text.split_once('#') {
            Some((url, reference)) => (url, Some(reference)),
            None => (text, None),
        };
        let bad = |why: &str| Err(Failure::input(anyhow!("{why}")));
        match url.split_once("://") {
            Some((scheme, _)) if !SCHEMES.contains(&scheme) => {
                return bad(&format!(
                    "a repository is not fetched by `{scheme}`; write https, ssh or file"
                ));
            }
            Some(_) => {}
            None if url.starts_with("git@") && url.contains(':') => {}
            None => return Ok(None),
        }
        if reference.is_some_and(|it| it.is_empty() || it.starts_with('-') || it.contains(':')) {
            return bad("after the `#` comes a branch, a tag or a whole commit id");
        }
        Ok(Some(Self {
            url: url.to_owned(),
            reference: reference.map(str::to_owned),
        }))
    }

    async fn fetch(&self, folder: &Path) -> Result<(), Failure> {
        self.git(folder, &["init", "--quiet", "--template="])
            .await?;
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        let fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--"];
        self.git(folder, &[&fetch[..], &[&self.url, reference]].concat())
            .await?;
        self.git(folder, &["checkout", "--quiet", "FETCH_HEAD"])
            .await
    }

    async fn git(&self, folder: &Path, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", SCHEMES.join(":"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        // Which a hook of git may have set; they would name another repository.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        let what = self.shown();
        let ended = tokio::time::timeout(FETCH_TIMEOUT, command.output())
            .await
            .with_context(|| format!("cannot fetch {what}: git took over {FETCH_TIMEOUT:?}"))
            .map_err(Failure::platform)?
            .with_context(|| {
                format!("cannot fetch {what}: cannot run `git`, which must be installed")
            })
            .map_err(Failure::platform)?;
        if ended.status.success() {
            return Ok(());
        }
        let said = self.without_secrets(&String::from_utf8_lossy(&ended.stderr));
        let said: Vec<_> = said.lines().take(SAID_LINES_MAX).collect();
        let remedy = match &self.reference {
            Some(reference) => {
                format!("; is `{reference}` a branch, a tag or a whole commit id of it?")
            }
            None => String::new(),
        };
        let text = format!("cannot fetch {what}: {}{remedy}", said.join("; "));
        Err(Failure::platform(anyhow!(text)))
    }

    /// The repository without the user and password that its URL may hold.
    fn shown(&self) -> String {
        match &self.reference {
            Some(reference) => format!("{}#{reference}", self.without_secrets(&self.url)),
            None => self.without_secrets(&self.url),
        }
    }

    fn without_secrets(&self, text: &str) -> String {
        let Ok(url) = Url::parse(&self.url) else {
            return text.to_owned();
        };
        let mut text = text.to_owned();
        // As it is written too: a `@` in it may be written plainly.
        let written = self.url.split_once("://").map(|(_, rest)| rest);
        let written = written.and_then(|rest| rest.split('/').next());
        let written = written.and_then(|authority| authority.rsplit_once('@'));
        let secrets = [written.map(|(user, _)| user), url.password()];
        for secret in secrets.into_iter().flatten().filter(|it| !it.is_empty()) {
            text = text.replace(secret, "…");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, Option<String>)> {
        let parsed = Repository::parse(text).unwrap();
        parsed.map(|it| (it.url, it.reference))
    }

    #[test]
    fn repositories_are_told_from_folders() {
        let of = |url: &str, reference: Option<&str>| {
            Some((url.to_owned(), reference.map(str::to_owned)))
        };
        let cases = [
            ("pipelines/orders", None),
            ("./a#b", None),
            ("https://h/a.git", of("https://h/a.git", None)),
            ("ssh://git@h/a#v1", of("ssh://git@h/a", Some("v1"))),
            ("git@h:a/b.git#main", of("git@h:a/b.git", Some("main"))),
            ("file:///a#x/y", of("file:///a", Some("x/y"))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_git_would_take_for_something_else_is_refused() {
        for text in [
            "ext::sh -c x://y",
            "git://h/a",
            "https://h/a#",
            "https://h/a#--upload-pack=x",
            "https://h/a#a:b",
        ] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn password_of_a_repository_is_never_shown() {
        let repository = Repository::parse("https://me:t0ken@h/a#main")
            .unwrap()
            .unwrap();
        let said = repository.without_secrets("cannot reach https://me:t0ken@h/a: t0ken is bad");
        for text in [repository.shown(), said] {
            assert!(!text.contains("t0ken"), "{text}");
        }
    }
}
