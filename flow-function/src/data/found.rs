//! A value that was read, with all that it is joined of. Joining it, and telling whether a text is JSON,
//! takes the processor and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use turlough_sdk::{Value, ValueRef};

use super::{DataError, typed};

/// What a value is made of.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Envelope(Bytes),
    /// A join, member by member.
    Map(Vec<(Arc<str>, Self)>),
    /// It is still to be read.
    Elsewhere(ValueRef),
}

impl Found {
    /// The one value of it all. A join has its members as data.
    pub(crate) fn value(self) -> Result<Value, DataError> {
        match self {
            Self::Nothing => Ok(Value::empty()),
            Self::Envelope(envelope) => Ok(Value::from_envelope(envelope)?),
            Self::Map(members) => {
                let typed = |(name, member): (Arc<str>, Self)| Ok((name, member.typed()?));
                let members = members.into_iter().map(typed);
                let members = members.collect::<Result<Vec<_>, DataError>>()?;
                let view: Vec<_> = members
                    .iter()
                    .map(|(name, value)| (&**name, value))
                    .collect();
                Ok(Value::map(&view)?)
            }
            Self::Elsewhere(_) => Err(DataError::Unread),
        }
    }

    /// The same, where a body that nobody gave a type is JSON if it reads as JSON.
    pub(crate) fn typed(self) -> Result<Value, DataError> {
        Ok(typed(self.value()?))
    }

    /// Bytes that were read.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Nothing | Self::Elsewhere(_) => 0,
            Self::Envelope(envelope) => envelope.len() as u64,
            Self::Map(members) => members.iter().map(|(_, member)| member.size()).sum(),
        }
    }

    pub(crate) const fn is_joined(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    /// All of it that is still to be read.
    pub(super) fn elsewhere<'a>(&'a mut self, away: &mut Vec<&'a mut Self>) {
        match self {
            Self::Nothing | Self::Envelope(_) => {}
            Self::Map(members) => {
                let members = members.iter_mut();
                members.for_each(|(_, member)| member.elsewhere(away));
            }
            Self::Elsewhere(_) => away.push(self),
        }
    }
}
