//! What a replica and its helper process say to one another.
//!
//! A helper begins with [`MAGIC`]. Then each side sends a head, which is MessagePack behind its length
//! in four bytes, and behind it the values that the head announces, as they are: they may be large,
//! and are copied no more often than they must.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use turlough_sdk::{Expression, Value, Variables};

/// How a helper begins. It ends with the version of what follows.
pub(super) const MAGIC: &[u8; 16] = b"turlough-jq-00 1";
/// Longest head: a source and the variables that are not values.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    Run,
    Holds,
}

/// The outcome of an evaluation that did not fail.
#[derive(Debug)]
pub(super) enum Outcome {
    Output(Value),
    Holds(bool),
}

/// The head of a question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) mode: Mode,
    pub(super) source: String,
    /// Bytes of the input's envelope, which follows.
    pub(super) input_bytes: usize,
    /// Bytes of the envelope of `$input`, which follows the input.
    pub(super) request_input_bytes: Option<usize>,
    /// Largest output.
    pub(super) output_bytes_max: usize,
    request: String,
    flow: String,
    node: String,
    attempt: u32,
    query: Json,
    headers: Json,
    vars: Json,
    error: Json,
}

/// The head of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// An output's envelope of so many bytes follows.
    Output {
        bytes: usize,
    },
    Holds(bool),
    /// What jq said.
    Failed(String),
}

impl Question {
    pub(super) fn new(
        mode: Mode,
        expression: &Expression,
        input: &Value,
        variables: &Variables,
        output_bytes_max: usize,
    ) -> Self {
        let variables = variables.only(expression.uses());
        let request_input = variables.input.as_ref();
        Self {
            mode,
            source: expression.source().to_owned(),
            input_bytes: input.envelope().len(),
            request_input_bytes: request_input.map(|input| input.envelope().len()),
            output_bytes_max,
            request: variables.request,
            flow: variables.flow,
            node: variables.node,
            attempt: variables.attempt,
            query: variables.query,
            headers: variables.headers,
            vars: variables.vars,
            error: variables.error,
        }
    }

    /// The variables that it was made from, but for `$input`.
    pub(super) fn variables(self) -> Variables {
        Variables {
            request: self.request,
            flow: self.flow,
            node: self.node,
            attempt: self.attempt,
            query: self.query,
            headers: self.headers,
            input: None,
            vars: self.vars,
            error: self.error,
        }
    }
}

/// A head with its length.
pub(super) fn head<T: Serialize>(message: &T) -> Result<Vec<u8>, String> {
    let mut text = vec![0; 4];
    rmp_serde::encode::write_named(&mut text, message).map_err(|error| error.to_string())?;
    let bytes = text.len() - 4;
    let length = u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= HEAD_BYTES_MAX);
    let length =
        length.ok_or_else(|| format!("its variables are {bytes} bytes, limit {HEAD_BYTES_MAX}"))?;
    text[..4].copy_from_slice(&length.to_be_bytes());
    Ok(text)
}

/// The length of a head from its first four bytes.
pub(super) fn head_bytes(length: [u8; 4]) -> Option<usize> {
    let bytes = usize::try_from(u32::from_be_bytes(length)).ok()?;
    (bytes <= HEAD_BYTES_MAX).then_some(bytes)
}

pub(super) fn value(envelope: Vec<u8>) -> Result<Value, String> {
    Value::from_envelope(Bytes::from(envelope)).map_err(|error| error.to_string())
}
