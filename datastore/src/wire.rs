//! RESP, versions 2 and 3: commands as they come in, replies as they go out. It knows nothing of what
//! commands mean.

#[cfg(any(test, fuzzing))]
pub(crate) mod alike;
mod out;
mod parse;

pub(crate) use out::{Outbox, Version};
pub(crate) use parse::{Args, Body, Parsed, Parser, number};
