//! How many replicas a function may have, as OpenFaaS's labels say it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;

use super::FunctionName;

/// Processes of one function at most: each is one of this machine's.
pub(super) const REPLICAS_MAX: u32 = 32;

const MIN: &str = "com.openfaas.scale.min";
const MAX: &str = "com.openfaas.scale.max";
const FACTOR: &str = "com.openfaas.scale.factor";
const ZERO: &str = "com.openfaas.scale.zero";
const ZERO_DURATION: &str = "com.openfaas.scale.zero-duration";
const IN_FLIGHT: &str = "max_inflight";
const EXEC_TIMEOUT: &str = "exec_timeout";

/// The bounds of a function's replicas, and what moves it within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scaling {
    /// From 1.
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// In percent of `max`: what an alert adds.
    pub(crate) factor: u32,
    /// After so long without a call it has no replica; the next call waits for one.
    pub(crate) zero_after: Option<Duration>,
    /// Calls that one replica works on at once.
    pub(crate) in_flight_max: usize,
}

/// A label, or a variable, that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("function `{function}`: label {label} is `{found}`; write {wanted}")]
    Label {
        function: FunctionName,
        label: &'static str,
        found: String,
        wanted: &'static str,
    },
    #[error("function `{function}`: variable {variable} is `{found}`; write {wanted}")]
    Variable {
        function: FunctionName,
        variable: &'static str,
        found: String,
        wanted: &'static str,
    },
    #[error("function `{function}`: annotation {annotation} is `{found}`; write {wanted}")]
    Annotation {
        function: FunctionName,
        annotation: &'static str,
        found: String,
        wanted: &'static str,
    },
    #[error(
        "function `{function}`: label {MIN} is {min}, over {MAX}, which is {max}; write a smaller one"
    )]
    MinOverMax {
        function: FunctionName,
        min: u32,
        max: u32,
    },
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min: 1,
            // OpenFaaS's own defaults, but for a machine that holds fewer.
            max: 20,
            factor: 20,
            zero_after: None,
            in_flight_max: usize::MAX,
        }
    }
}

impl Scaling {
    pub(crate) fn read(
        function: &FunctionName,
        labels: &BTreeMap<String, String>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, SettingError> {
        check_timeout(function, variables)?;
        let label = |label: &'static str, wanted: &'static str| SettingError::Label {
            function: function.clone(),
            label,
            found: labels.get(label).cloned().unwrap_or_default(),
            wanted,
        };
        let number = |name: &'static str, least: u32, most: u32, wanted: &'static str| {
            let Some(text) = labels.get(name) else {
                return Ok(None);
            };
            let number = text.trim().parse().ok();
            let number = number.filter(|number| (least..=most).contains(number));
            number.map(Some).ok_or_else(|| label(name, wanted))
        };
        let replicas = "a number of replicas from 1 to 32";
        let min = number(MIN, 1, REPLICAS_MAX, replicas)?;
        let max = number(MAX, 1, REPLICAS_MAX, replicas)?;
        let factor = number(FACTOR, 0, 100, "a percentage from 0 to 100")?;
        let default = Self::default();
        let min = min.unwrap_or(default.min);
        let scaling = Self {
            min,
            max: max.unwrap_or(default.max.max(min)),
            factor: factor.unwrap_or(default.factor),
            zero_after: match labels.get(ZERO).map(|text| text.trim()) {
                None | Some("false") => None,
                Some("true") => Some(match labels.get(ZERO_DURATION) {
                    None => Duration::from_secs(15 * 60),
                    Some(text) => duration(text)
                        .ok_or_else(|| label(ZERO_DURATION, "a duration such as 15m"))?,
                }),
                Some(_) => return Err(label(ZERO, "true or false")),
            },
            in_flight_max: in_flight_max(function, variables)?,
        };
        if scaling.min > scaling.max {
            return Err(SettingError::MinOverMax {
                function: function.clone(),
                min: scaling.min,
                max: scaling.max,
            });
        }
        Ok(scaling)
    }

    /// What an alert makes of so many replicas: a step up within the bounds.
    pub(crate) fn more(self, replicas: u32) -> u32 {
        let step = (self.max * self.factor).div_ceil(100);
        (replicas + step).clamp(self.min, self.max)
    }
}

/// The watchdog's `max_inflight`; no limit without it, or with 0.
fn in_flight_max(
    function: &FunctionName,
    variables: &BTreeMap<String, String>,
) -> Result<usize, SettingError> {
    let Some(text) = variables.get(IN_FLIGHT) else {
        return Ok(usize::MAX);
    };
    match text.trim().parse() {
        Ok(0) => Ok(usize::MAX),
        Ok(max) => Ok(max),
        Err(_) => Err(SettingError::Variable {
            function: function.clone(),
            variable: IN_FLIGHT,
            found: text.clone(),
            wanted: "a number of calls, 0 for no limit",
        }),
    }
}

/// The watchdog's `exec_timeout`, which whoever runs the process reads.
fn check_timeout(
    function: &FunctionName,
    variables: &BTreeMap<String, String>,
) -> Result<(), SettingError> {
    match variables.get(EXEC_TIMEOUT) {
        Some(text) if duration(text).is_none() => Err(SettingError::Variable {
            function: function.clone(),
            variable: EXEC_TIMEOUT,
            found: text.clone(),
            wanted: "a duration such as 30s",
        }),
        _ => Ok(()),
    }
}

/// A Go duration that is not negative, such as `1h30m` or `500ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let signed: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(signed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &[(&str, &str)]) -> Result<Scaling, String> {
        let name = FunctionName::parse("it").unwrap();
        let labels = labels.iter().map(|(name, value)| {
            let name = format!("com.openfaas.scale.{name}");
            (name, (*value).to_owned())
        });
        Scaling::read(&name, &labels.collect(), &BTreeMap::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_read_as_openfaas_means_them() {
        assert_eq!(read(&[]), Ok(Scaling::default()));
        let all = [
            ("min", "2"),
            ("max", "10"),
            ("factor", "50"),
            ("zero", "true"),
            ("zero-duration", "1m30s"),
        ];
        let expected = Scaling {
            min: 2,
            max: 10,
            factor: 50,
            zero_after: Some(Duration::from_secs(90)),
            in_flight_max: usize::MAX,
        };
        assert_eq!(read(&all), Ok(expected));
        let zero = read(&[("zero", "true")]).unwrap();
        assert_eq!(zero.zero_after, Some(Duration::from_secs(15 * 60)));
        assert_eq!(read(&[("min", "25")]).unwrap().max, 25);
    }

    #[test]
    fn labels_that_say_something_else_are_refused_by_name() {
        for (name, value) in [
            ("min", "0"),
            ("min", "33"),
            ("min", "two"),
            ("max", "0"),
            ("factor", "101"),
            ("zero", "yes"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        let zero = [("zero", "true"), ("zero-duration", "soon")];
        assert!(read(&zero).unwrap_err().contains("zero-duration"));
        let error = read(&[("min", "5"), ("max", "4")]).unwrap_err();
        assert!(error.contains("is 5, over"), "{error}");
    }

    #[test]
    fn alert_adds_its_share_of_the_bound_and_not_more() {
        let scaling = read(&[("min", "1"), ("max", "10"), ("factor", "25")]).unwrap();
        assert_eq!([0, 1, 4, 8, 10].map(|n| scaling.more(n)), [3, 4, 7, 10, 10]);
    }
}
