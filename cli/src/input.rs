//! The input of a request or the payload of a signal: from the command line, a file or stdin.

use std::io::Read;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::Args;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::exit::Failure;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

#[derive(Debug, Args)]
pub(crate) struct InputArguments {
    /// What is sent: JSON, or @FILE, or @- for stdin; empty where it is left out
    #[arg(long, short, value_name = "JSON|@FILE|@-")]
    data: Option<String>,

    /// What that is; JSON where it reads as JSON
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// None where there is no input.
    content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl InputArguments {
    pub(crate) fn read(&self) -> Result<Input, Failure> {
        Input::read(self.data.as_deref(), self.content_type.as_deref())
    }
}

impl Input {
    /// Data from a file may be anything. What is written on the command line without a content
    /// type is JSON, since a shell's quoting goes wrong more often than somebody means plain text.
    fn read(data: Option<&str>, content_type: Option<&str>) -> Result<Self, Failure> {
        let body = match data {
            None => Vec::new(),
            Some("@-") => {
                let mut body = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut body);
                read.context("cannot read the input from stdin")
                    .map_err(Failure::input)?;
                body
            }
            Some(text) => match text.strip_prefix('@') {
                Some(path) => std::fs::read(path)
                    .with_context(|| format!("cannot read the input file `{path}`"))
                    .map_err(Failure::input)?,
                None => text.as_bytes().to_owned(),
            },
        };
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(&body);
        let media = match (content_type, json) {
            (Some(given), _) => Some(given),
            (None, _) if body.is_empty() => None,
            (None, Ok(_)) => Some(JSON),
            (None, Err(error)) if !data.is_some_and(|data| data.starts_with('@')) => {
                let text = format!(
                    "--data is not JSON: {error}; quote it for the shell, or say what it is with \
                     --content-type"
                );
                return Err(Failure::input(anyhow!(text)));
            }
            (None, Err(_)) => Some(BYTES),
        };
        let content_type = media
            .map(HeaderValue::from_str)
            .transpose()
            .context("--content-type holds characters that no header may hold")
            .map_err(Failure::input)?;
        Ok(Self {
            content_type,
            body: body.into(),
        })
    }

    /// Says in the headers what the body is.
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        if let Some(media) = &self.content_type {
            headers.insert(CONTENT_TYPE, media.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(data: Option<&str>, content_type: Option<&str>) -> Result<Option<String>, String> {
        let input = Input::read(data, content_type).map_err(|f| f.cause.to_string())?;
        Ok(input.content_type.map(|v| v.to_str().unwrap().to_owned()))
    }

    #[test]
    fn data_on_the_command_line_is_json_unless_said_otherwise() {
        assert_eq!(media(None, None), Ok(None));
        assert_eq!(media(Some("{\"n\":1}"), None), Ok(Some(JSON.into())));
        assert_eq!(
            media(Some("a b"), Some("text/plain")),
            Ok(Some("text/plain".into()))
        );
        let refused = media(Some("{n:1}"), None).unwrap_err();
        assert!(refused.starts_with("--data is not JSON: "), "{refused}");
    }

    #[test]
    fn file_that_is_not_json_is_sent_as_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
        let data = format!("@{}", file.path().display());
        assert_eq!(media(Some(&data), None), Ok(Some(BYTES.into())));
        let input = Input::read(Some(&data), None).unwrap_or_else(|f| panic!("{}", f.cause));
        assert_eq!(&input.body[..], [0xff, 0xfe]);
        let refused = media(Some("@/no/such/file"), None).unwrap_err();
        assert!(
            refused.contains("cannot read the input file `/no/such/file`"),
            "{refused}"
        );
    }
}
