//! What a command is answered that was not carried out, as Redis words it where it is one of Redis's.

use crate::store::{KeyError, Refusal};

/// An error reply: its code, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What was begun elsewhere does not end.
    pub(crate) fn closing() -> Self {
        Refusal::Closing.into()
    }

    pub(crate) fn syntax() -> Self {
        Self::new("ERR syntax error")
    }

    pub(crate) fn no_integer() -> Self {
        Self::new("ERR value is not an integer or out of range")
    }

    pub(crate) fn arity(name: &str) -> Self {
        Self::new(format!(
            "ERR wrong number of arguments for '{name}' command"
        ))
    }

    pub(crate) fn expiry(name: &str) -> Self {
        Self::new(format!("ERR invalid expire time in '{name}' command"))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(format!("{} {refusal}", refusal.code()))
    }
}

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        Self::new(format!("ERR {error}"))
    }
}
