//! Signing the call of a flow that takes signed calls alone.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reqwest::header::{HeaderMap, HeaderValue};
use turlough_sdk::signature::SigningKey;

use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct SigningArguments {
    /// Signs the call (RFC 9421): a file with a private key of Ed25519 as PEM, or with a shared secret
    #[arg(
        long,
        env = "TURLOUGH_SIGN_KEY",
        value_name = "FILE",
        requires = "sign_as"
    )]
    sign_key: Option<PathBuf>,

    /// The name of that key: the function has it as the secret turlough-signing-key-NAME
    #[arg(long, env = "TURLOUGH_SIGN_AS", value_name = "NAME")]
    sign_as: Option<String>,
}

impl SigningArguments {
    /// Adds what signs a POST with these headers and this body.
    pub(crate) fn sign(
        &self,
        path: &str,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let (Some(file), Some(name)) = (&self.sign_key, &self.sign_as) else {
            return Ok(());
        };
        let text = std::fs::read(file)
            .with_context(|| format!("cannot read the signing key `{}`", file.display()))
            .map_err(Failure::input)?;
        let key = SigningKey::read(name, &text)
            .with_context(|| format!("cannot sign with `{}`", file.display()))
            .map_err(Failure::input)?;
        let sent = headers.iter();
        let sent: Vec<_> = sent
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let signed = key.sign_call("POST", (path, ""), &sent, body);
        let signed = signed
            .context("cannot sign the call")
            .map_err(Failure::input)?;
        for (name, value) in signed {
            let value = HeaderValue::from_str(&value).context("cannot sign the call");
            headers.insert(name, value.map_err(Failure::input)?);
        }
        Ok(())
    }
}
