//! The stubs of a kit, and the calls that were made to them.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{Answer, Call};

type Stub = Arc<dyn Fn(&Call) -> Answer + Send + Sync>;

/// By name of the function.
#[derive(Default)]
pub(super) struct Stubs {
    stubs: Mutex<BTreeMap<String, Stub>>,
    calls: Mutex<BTreeMap<String, Vec<Call>>>,
    /// What stubs that panicked said, the first one first.
    panics: Mutex<Vec<String>>,
}

impl Stubs {
    pub(super) fn set(
        &self,
        function: &str,
        stub: impl Fn(&Call) -> Answer + Send + Sync + 'static,
    ) {
        lock(&self.stubs).insert(function.to_owned(), Arc::new(stub));
    }

    pub(super) fn calls(&self, function: &str) -> Vec<Call> {
        lock(&self.calls).get(function).cloned().unwrap_or_default()
    }

    /// What stubs that panicked said since it was asked last.
    pub(super) fn take_panics(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.panics))
    }

    /// Notes a call, and has its stub answer.
    pub(super) fn answer(&self, mut call: Call) -> Answer {
        {
            let mut calls = lock(&self.calls);
            let of_it = calls.entry(call.function.clone()).or_default();
            call.number = of_it.len() + 1;
            of_it.push(call.clone());
        }
        let stub = lock(&self.stubs).get(&call.function).cloned();
        let Some(stub) = stub else {
            return self.unknown(&call.function);
        };
        match catch_unwind(AssertUnwindSafe(|| stub(&call))) {
            Ok(answer) => answer,
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
                let (function, number) = (&call.function, call.number);
                let said = said.unwrap_or("what it panicked with is no text");
                let text = format!("stub of function {function} panicked in call {number}: {said}");
                lock(&self.panics).push(text.clone());
                Answer::json(&json!({ "detail": text })).with_status(500)
            }
        }
    }

    fn unknown(&self, function: &str) -> Answer {
        let stubs = lock(&self.stubs);
        let names: Vec<_> = stubs.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        let text = format!("no stub for function {function} in this test kit; there is {known}");
        Answer::from(text).with_status(404)
    }
}

impl fmt::Debug for Stubs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(lock(&self.stubs).keys()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
