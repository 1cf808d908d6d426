//! Which answers a function is called again after, when, and how often: OpenFaaS's annotations, and what
//! holds for functions that have none.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};

use crate::functions::{FunctionName, SettingError, duration};

/// The annotation that says how often asynchronous calls of a function are made.
const RETRY_ATTEMPTS: &str = "com.openfaas.retry.attempts";
const CODES: &str = "com.openfaas.retry.codes";
const MIN_WAIT: &str = "com.openfaas.retry.min_wait";
const MAX_WAIT: &str = "com.openfaas.retry.max_wait";

/// As often as anybody may want it.
const ATTEMPTS_MAX: u32 = 1_000;
/// The longest that a function may put a call off.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// How asynchronous calls of a function are made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// Calls, the first included; 1 for no retries.
    pub attempts: u32,
    /// Statuses after which there is another.
    pub codes: Vec<u16>,
    /// Before the second; doubled after each, with jitter (half of it to all).
    pub min_wait: Duration,
    /// What it is doubled to.
    pub max_wait: Duration,
}

impl Default for RetryConfig {
    /// What OpenFaaS's queue-worker has, and 503.
    fn default() -> Self {
        Self {
            attempts: 10,
            codes: vec![408, 429, 500, 502, 503, 504],
            min_wait: Duration::from_secs(10),
            max_wait: Duration::from_secs(120),
        }
    }
}

/// What a function's annotations say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    attempts: Option<u32>,
    codes: Option<Vec<u16>>,
    min_wait: Option<Duration>,
    max_wait: Option<Duration>,
}

impl Said {
    pub(crate) fn read(
        function: &FunctionName,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, SettingError> {
        let wrong = |annotation, wanted| SettingError::Annotation {
            function: function.clone(),
            annotation,
            found: annotations.get(annotation).cloned().unwrap_or_default(),
            wanted,
        };
        let wait = |name| match annotations.get(name) {
            None => Ok(None),
            Some(text) => duration(text.trim())
                .map(Some)
                .ok_or_else(|| wrong(name, "a duration such as 10s")),
        };
        let attempts = annotations.get(RETRY_ATTEMPTS).map(|text| {
            let attempts = text.trim().parse().ok();
            let attempts = attempts.filter(|attempts| (1..=ATTEMPTS_MAX).contains(attempts));
            attempts.ok_or_else(|| wrong(RETRY_ATTEMPTS, "a number of calls from 1 to 1000"))
        });
        let codes = annotations.get(CODES).map(|text| {
            let codes = text.split(',').map(|code| code.trim().parse().ok());
            let codes = codes.map(|code| code.filter(|code| (100..=599).contains(code)));
            let codes: Option<Vec<u16>> = codes.collect();
            codes.ok_or_else(|| wrong(CODES, "statuses such as 408,429,500"))
        });
        Ok(Self {
            attempts: attempts.transpose()?,
            codes: codes.transpose()?,
            min_wait: wait(MIN_WAIT)?,
            max_wait: wait(MAX_WAIT)?,
        })
    }
}

impl RetryConfig {
    /// The same, but for what a function says.
    pub(super) fn with(&self, said: &Said) -> Self {
        let min_wait = said.min_wait.unwrap_or(self.min_wait);
        Self {
            attempts: said.attempts.unwrap_or(self.attempts),
            codes: said.codes.clone().unwrap_or_else(|| self.codes.clone()),
            min_wait,
            max_wait: said.max_wait.unwrap_or(self.max_wait).max(min_wait),
        }
    }

    /// Whether this answer is one after which a function is called again.
    pub(super) fn is_passing(&self, status: u16) -> bool {
        self.codes.contains(&status)
    }

    /// How long to wait after so many calls; `jitter` is 0 to 1. What the function says in `Retry-After`
    /// counts instead, in whole seconds, where that is not less than the shortest wait.
    pub(super) fn wait(&self, attempts: u32, headers: &HeaderMap, jitter: f64) -> Duration {
        let said = headers.get(RETRY_AFTER).and_then(|value| {
            let seconds = value.to_str().ok()?.trim().parse().ok()?;
            Some(Duration::from_secs(seconds))
        });
        if let Some(said) = said {
            return said.min(RETRY_AFTER_MAX).max(self.min_wait);
        }
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let step = self.min_wait.saturating_mul(doubled).min(self.max_wait);
        step.mul_f64(0.5 + 0.5 * jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> Result<Said, SettingError> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Said::read(&FunctionName::parse("f").unwrap(), &pairs.collect())
    }

    #[test]
    fn annotations_count_before_what_holds_for_all() {
        let all = RetryConfig::default();
        assert_eq!(all.with(&Said::default()), all);
        let said = said(&[(RETRY_ATTEMPTS, "3"), (CODES, "429, 500"), (MIN_WAIT, "5m")]);
        let own = all.with(&said.unwrap());
        assert_eq!((own.attempts, own.codes.as_slice()), (3, &[429, 500][..]));
        assert_eq!(own.min_wait, Duration::from_secs(300));
        assert_eq!(own.max_wait, own.min_wait);
    }

    #[test]
    fn an_annotation_that_says_nothing_of_the_kind_is_refused() {
        for (name, text) in [
            (RETRY_ATTEMPTS, "0"),
            (RETRY_ATTEMPTS, "1001"),
            (RETRY_ATTEMPTS, "many"),
            (CODES, "4xx"),
            (CODES, ""),
            (CODES, "99"),
            (MIN_WAIT, "10"),
            (MAX_WAIT, "soon"),
        ] {
            let error = said(&[(name, text)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn waits_double_to_their_bound_unless_the_function_says_when() {
        let all = RetryConfig::default();
        let mut headers = HeaderMap::new();
        let seconds: Vec<_> = (1..=6)
            .map(|attempts| all.wait(attempts, &headers, 1.0).as_secs())
            .collect();
        assert_eq!(seconds, [10, 20, 40, 80, 120, 120]);
        assert_eq!(all.wait(1, &headers, 0.0).as_secs(), 5);
        for (said, waits) in [("30", 30), ("1", 10), ("999999", 3_600), ("soon", 20)] {
            headers.insert(RETRY_AFTER, said.parse().unwrap());
            assert_eq!(all.wait(2, &headers, 1.0).as_secs(), waits, "{said}");
        }
    }
}
