//! The command line.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};
use reqwest::Url;

use crate::control::{
    CancelArguments, PauseArguments, RestartArguments, ResumeArguments, SignalArguments,
};
use crate::credentials::{Credentials, LoginArguments};
use crate::deploy::DeployArguments;
use crate::dev::DevArguments;
use crate::events::EventsArguments;
use crate::exit::{self, Failure};
use crate::graph::GraphArguments;
use crate::platform::GATEWAY_DEFAULT;
use crate::put::PutArguments;
use crate::replay::ReplayArguments;
use crate::requests::{ListArguments, ShowArguments};
use crate::run::{FollowArguments, RunArguments};
use crate::terminal::{Format, Terminal};
use crate::validate::ValidateArguments;

/// Runs, watches and validates Turlough pipelines
#[derive(Debug, Parser)]
#[command(name = "turlough", version, after_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    output: Format,

    /// Writes results and errors only: no progress, no output of functions
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts a gateway, the functions of a stack and its flows on this machine
    Dev(DevArguments),
    /// Starts a request of a flow, and waits for its result
    Run(RunArguments),
    /// Shows how a request gets on, to its end, and prints its result
    Follow(FollowArguments),
    /// Lists requests, the newest first
    Requests(ListArguments),
    /// Shows a request with its steps, its result, or what a step was given and gave
    Request(ShowArguments),
    /// Prints the events of a request as they come, to its end
    Events(EventsArguments),
    /// Folds the events of a request one after the other, without a platform
    Replay(ReplayArguments),
    /// Lets the running steps of a request end, and starts no other
    Pause(PauseArguments),
    /// Lets a paused request go on
    Resume(ResumeArguments),
    /// Cancels a request
    Cancel(CancelArguments),
    /// Lets a request that failed, timed out or was cancelled go on from there
    Restart(RestartArguments),
    /// Gives a request a signal that it waits for, or will
    Signal(SignalArguments),
    /// Registers flows, or new versions of them, with a flow-function that runs
    Put(PutArguments),
    /// Deploys the functions and flows of a folder, or of a git repository, to a gateway
    Deploy(DeployArguments),
    /// Lists the flows, and the functions that serve them
    #[command(after_help = "Examples:\n  turlough flows\n  turlough flows --output json")]
    Flows,
    /// Draws a flow
    Graph(GraphArguments),
    /// Checks flows and stack files, without a platform
    Validate(ValidateArguments),
    /// Prints the JSON Schema of flows in YAML, for editors
    #[command(after_help = "Examples:
  turlough schema > flow.schema.json
  # then, as the first line of a flow: # yaml-language-server: $schema=flow.schema.json")]
    Schema,
}

/// Where the platform is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platform")]
pub(crate) struct Connection {
    /// Gateway to talk to [env: TURLOUGH_GATEWAY_URL, else OPENFAAS_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    gateway: Option<String>,

    /// Token of the secret `turlough-token`, sent as bearer
    #[arg(long, global = true, env = "TURLOUGH_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// File that holds the token
    #[arg(
        long,
        global = true,
        env = "TURLOUGH_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    login: LoginArguments,
}

impl Arguments {
    pub(crate) fn terminal(&self) -> Terminal {
        Terminal {
            format: self.output,
            quiet: self.quiet,
        }
    }
}

impl Connection {
    pub(crate) fn gateway_url(&self) -> Result<Url, Failure> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok()?;
            (!value.is_empty()).then(|| (name.to_owned(), value))
        };
        let given = self
            .gateway
            .clone()
            .map(|url| ("--gateway".to_owned(), url));
        let (setting, text) = given
            .or_else(|| variable("TURLOUGH_GATEWAY_URL"))
            .or_else(|| variable("OPENFAAS_URL"))
            .unwrap_or_else(|| ("the default".to_owned(), GATEWAY_DEFAULT.to_owned()));
        parse_gateway(&setting, &text)
    }

    /// What the gateway's own API asks for, as far as it is known.
    pub(crate) fn credentials(&self, gateway: &Url) -> Result<Option<Credentials>, Failure> {
        self.login.credentials(gateway)
    }

    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token file `{}`", path.display()))
                .map_err(Failure::input)?,
            (None, None) => return Ok(None),
        };
        let token = token.trim();
        Ok((!token.is_empty()).then(|| token.to_owned()))
    }
}

fn parse_gateway(setting: &str, text: &str) -> Result<Url, Failure> {
    let bad = |why: &str| {
        let text = format!("gateway `{text}` ({setting}) {why}; write http://HOST:PORT");
        Failure::input(anyhow!(text))
    };
    let url = Url::parse(text).map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        let text = format!(
            "the gateway's URL ({setting}) holds a user or a password; write http://HOST:PORT, and \
             --username and --password-file"
        );
        return Err(Failure::input(anyhow!(text)));
    }
    match url.scheme() {
        "http" if url.has_host() => Ok(url),
        "https" => Err(bad(
            "asks for TLS, which this version does not speak: use a port-forward",
        )),
        _ => Err(bad("is not an HTTP URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let name = command.get_name();
            assert!(
                help.is_some_and(|help| help.contains(&format!("turlough {name}"))),
                "{name}"
            );
        }
    }

    #[test]
    fn gateway_that_cannot_be_called_is_refused_with_what_to_write() {
        for text in [
            "localhost:8080",
            "https://gateway",
            "http://",
            "unix:/x",
            "",
        ] {
            let failure = parse_gateway("--gateway", text).unwrap_err();
            assert_eq!(failure.exit, exit::Exit::BadInput);
            let message = failure.cause.to_string();
            assert!(message.ends_with("write http://HOST:PORT"), "{message}");
        }
        assert!(parse_gateway("--gateway", "http://127.0.0.1:8080/").is_ok());
        let failure = parse_gateway("--gateway", "http://admin:s3cret@gateway").unwrap_err();
        let message = failure.cause.to_string();
        assert!(message.contains("--password-file"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}
