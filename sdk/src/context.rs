//! What a closure may know of its request besides its inputs, and the variables that it sets.
//!
//! Invariants: what an attempt sees stays as it stood when the attempt started; what it sets is
//! bounded, and becomes the request's only with the end of the attempt.
//! Absent: `Authorization` and `Cookie`, and headers that the flow does not name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::closure::StepError;
use crate::ids::{FlowName, RequestId, StepPath};
use crate::report::StepFailure;
use crate::value::Value;

/// Longest name of a variable, in bytes: that of a node is as long.
const NAME_BYTES_MAX: usize = 64;
/// Largest value of a variable, in bytes: what travels inside an event.
const VALUE_BYTES_MAX: usize = 4096;
/// Most variables that one attempt sets: with values of full size they fill half of an append.
const SETS_MAX: usize = 64;

/// What is known when an attempt of a step starts.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The request.
    pub request: RequestId,
    /// Its flow.
    pub flow: FlowName,
    /// The step.
    pub node: StepPath,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Query parameters of the caller.
    pub query: Arc<BTreeMap<String, String>>,
    /// The caller's headers that the flow names, in lower case.
    pub headers: Arc<BTreeMap<String, String>>,
    /// The request's input; `None` where it was not read for this attempt.
    pub input: Option<Value>,
    /// The request's variables, as they stood when the attempt started.
    pub variables: Arc<BTreeMap<String, Value>>,
    /// What failed: in a fallback, a compensation, `on_failure` and `finally`.
    pub error: Option<StepFailure>,
}

impl Default for Attempt {
    /// A first attempt of no request: for tests of closures.
    fn default() -> Self {
        #[allow(clippy::unwrap_used, reason = "a constant that is a flow name")]
        let flow = "none".parse().unwrap();
        Self {
            request: RequestId::from_uuid(Uuid::nil()),
            flow,
            node: StepPath::from("none"),
            attempt: 1,
            query: Arc::default(),
            headers: Arc::default(),
            input: None,
            variables: Arc::default(),
            error: None,
        }
    }
}

/// The request as a closure sees it; `flow.context()` gives it.
/// Clones share what is set.
#[derive(Clone, Default)]
pub struct Context {
    attempt: Arc<Attempt>,
    sets: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("request", &self.attempt.request)
            .field("node", &self.attempt.node)
            .field("attempt", &self.attempt.attempt)
            .finish_non_exhaustive()
    }
}

impl From<Attempt> for Context {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: Arc::new(attempt),
            sets: Arc::default(),
        }
    }
}

impl Context {
    /// The request's id.
    #[must_use]
    pub fn request(&self) -> RequestId {
        self.attempt.request
    }

    /// The flow's name.
    #[must_use]
    pub fn flow(&self) -> &FlowName {
        &self.attempt.flow
    }

    /// The step's path, such as `months[3]/clean`.
    #[must_use]
    pub fn node(&self) -> &StepPath {
        &self.attempt.node
    }

    /// Number of the attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt.attempt
    }

    /// Query parameters of the caller.
    #[must_use]
    pub fn query(&self) -> &BTreeMap<String, String> {
        &self.attempt.query
    }

    /// The caller's headers that the flow names, in lower case.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.attempt.headers
    }

    /// What failed: in a fallback, a compensation, `on_failure` and `finally`; otherwise `None`.
    #[must_use]
    pub fn error(&self) -> Option<&StepFailure> {
        self.attempt.error.as_ref()
    }

    /// The request's variables, as they stood when the attempt started.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Value> {
        &self.attempt.variables
    }

    /// The request's input.
    ///
    /// # Errors
    /// An input that is no `T`.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let empty = Value::empty();
        let input = self.attempt.input.as_ref().unwrap_or(&empty);
        input
            .decode()
            .map_err(|error| StepError::permanent(format!("input of the request: {error}")))
    }

    /// A variable of the request as it stood when the attempt started; `None` where it is not set.
    ///
    /// # Errors
    /// A value that is no `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StepError> {
        let Some(value) = self.attempt.variables.get(name) else {
            return Ok(None);
        };
        let value = value
            .decode()
            .map_err(|error| StepError::permanent(format!("variable {name}: {error}")))?;
        Ok(Some(value))
    }

    /// Sets a variable of the request. It is recorded with the end of this attempt, where that
    /// succeeds, and seen by the steps that start after it.
    ///
    /// # Errors
    /// A name that is no identifier of at most 64 bytes, a value of over 4 KiB, more than 64
    /// variables in one attempt, or what serde cannot write.
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), StepError> {
        let value = Value::encode(value).map_err(StepError::permanent)?;
        self.set_value(name, value)
    }

    /// [`Context::set`] for a value that is encoded already.
    ///
    /// # Errors
    /// As for [`Context::set`].
    pub fn set_value(&self, name: &str, value: Value) -> Result<(), StepError> {
        if !is_variable(name) {
            let name: String = name.chars().take(80).collect();
            return Err(StepError::permanent(format!(
                "variable {name:?} cannot be set; write letters, digits and _, at most {NAME_BYTES_MAX}, no digit first"
            )));
        }
        let found = value.body().len();
        if found > VALUE_BYTES_MAX {
            return Err(StepError::permanent(format!(
                "variable {name} is {found} bytes, limit {VALUE_BYTES_MAX}; pass it along an edge"
            )));
        }
        let mut sets = self.sets();
        if sets.len() >= SETS_MAX && !sets.contains_key(name) {
            return Err(StepError::permanent(format!(
                "variable {name} is one over {SETS_MAX} that the attempt has set; put several into one"
            )));
        }
        sets.insert(name.to_owned(), value);
        Ok(())
    }

    /// Takes out what the attempt has set, by name; of several values the last.
    #[must_use]
    pub fn take_sets(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.sets()).into_iter().collect()
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        // A closure that panicked elsewhere leaves whole entries.
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a variable may bear the name: `$vars.NAME` must read it.
pub(crate) fn is_variable(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_recorded_and_not_yet_seen() {
        let variables = BTreeMap::from([("n".to_owned(), Value::encode(&1).unwrap())]);
        let context = Context::from(Attempt {
            variables: Arc::new(variables),
            ..Attempt::default()
        });
        let clone = context.clone();
        clone.set("n", &2).unwrap();
        clone.set("n", &3).unwrap();
        assert_eq!(context.get::<u32>("n"), Ok(Some(1)));
        assert_eq!(context.get::<u32>("m"), Ok(None));
        assert!(
            context
                .get::<String>("n")
                .unwrap_err()
                .message
                .starts_with("variable n: ")
        );
        let sets = context.take_sets();
        assert_eq!(sets, [("n".to_owned(), Value::encode(&3).unwrap())]);
        assert_eq!(clone.take_sets(), []);
    }

    #[test]
    fn what_is_set_is_bounded() {
        let context = Context::default();
        let refused = |name: &str, value: &str| context.set(name, value).unwrap_err().message;
        for bad in ["", "1a", "a-b", "a.b", "ä", &"x".repeat(65)] {
            assert!(refused(bad, "").contains("cannot be set"), "{bad:?}");
        }
        assert_eq!(
            refused("big", &"x".repeat(5000)),
            "variable big is 5003 bytes, limit 4096; pass it along an edge"
        );
        for n in 0..64 {
            context.set(&format!("v{n}"), &n).unwrap();
        }
        context.set("v0", "again").unwrap();
        assert!(refused("more", "").contains("one over 64"));
        assert_eq!(context.take_sets().len(), 64);
    }

    #[test]
    fn the_input_of_the_request_is_read_as_a_type() {
        let context = Context::from(Attempt {
            input: Some(Value::encode("text").unwrap()),
            ..Attempt::default()
        });
        assert_eq!(context.input(), Ok("text".to_owned()));
        assert!(context.input::<u32>().is_err());
        assert_eq!(Context::default().input::<Option<u32>>(), Ok(None));
    }
}
