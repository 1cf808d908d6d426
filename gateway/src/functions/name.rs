//! Names of functions and namespaces, in OpenFaaS's form.

use std::fmt;
use std::sync::Arc;

/// The namespace that is meant where none is written.
pub const DEFAULT_NAMESPACE: &str = "openfaas-fn";

/// The longest name; Kubernetes allows a label no more.
const NAME_CHARS_MAX: usize = 63;

/// A function's name with its namespace; shown without the default namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName {
    /// `name.namespace`.
    qualified: Arc<str>,
    name_bytes: usize,
}

/// A name that OpenFaaS would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a function or namespace name; write 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
)]
pub struct NameError {
    name: String,
}

impl FunctionName {
    /// Reads `name` or `name.namespace`.
    ///
    /// # Errors
    /// [`NameError`] if either part is not a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.rsplit_once('.') {
            Some((name, namespace)) => Self::new(name, namespace),
            None => Self::new(text, DEFAULT_NAMESPACE),
        }
    }

    /// Joins a name and a namespace.
    ///
    /// # Errors
    /// [`NameError`] if either is not a name.
    pub fn new(name: &str, namespace: &str) -> Result<Self, NameError> {
        check_name(name)?;
        check_name(namespace)?;
        Ok(Self {
            qualified: format!("{name}.{namespace}").into(),
            name_bytes: name.len(),
        })
    }

    /// The name without its namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.qualified[..self.name_bytes]
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.qualified[self.name_bytes + 1..]
    }

    /// `name.namespace`, also in the default namespace.
    #[must_use]
    pub fn qualified(&self) -> &str {
        &self.qualified
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace() == DEFAULT_NAMESPACE {
            f.write_str(self.name())
        } else {
            f.write_str(&self.qualified)
        }
    }
}

/// # Errors
/// [`NameError`] for what is no name of a function or namespace.
pub(crate) fn check_name(text: &str) -> Result<(), NameError> {
    let error = || NameError {
        name: text.to_owned(),
    };
    is_name(text).then_some(()).ok_or_else(error)
}

/// `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, at most 63 characters.
fn is_name(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(&first), Some(&last)) = (text.as_bytes().first(), text.as_bytes().last()) else {
        return false;
    };
    text.len() <= NAME_CHARS_MAX
        && edge(first)
        && edge(last)
        && text.bytes().all(|byte| edge(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_the_pattern_of_openfaas() {
        let longest = "a".repeat(63);
        for good in ["a", "7", "a-b", "a--b", &longest, "echo.openfaas-fn"] {
            assert!(FunctionName::parse(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in [
            "", "-a", "a-", "A", "a_b", "a b", &too_long, "a.", ".a", "a.b.c", "é",
        ] {
            assert!(FunctionName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_name_reads_back_as_itself() {
        for text in ["echo", "echo.other"] {
            let name = FunctionName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(FunctionName::parse(name.qualified()).unwrap(), name);
        }
    }
}
