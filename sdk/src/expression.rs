//! jq expressions: compiled once, at validation, and run on values.
//!
//! Absent: a bound on time and memory; the caller runs an expression off its reactor under a limit.

use std::fmt;
use std::sync::Arc;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;

use crate::value::{ContentType, Producer, Value};

type Filter = jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>;

/// Longest expression, in bytes.
const SOURCE_BYTES_MAX: usize = 16 * 1024;

/// A compiled jq expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    filter: Arc<Filter>,
}

/// Why an expression could not be compiled or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// The text is not jq.
    #[error("jq expression {text:?} does not compile: {reason}")]
    Compile {
        /// The expression.
        text: String,
        /// Where and why.
        reason: String,
    },
    /// The expression failed on its input.
    #[error("jq expression {text:?} failed: {reason}")]
    Run {
        /// The expression.
        text: String,
        /// What jq said.
        reason: String,
    },
}

impl Expression {
    /// Compiles `source`.
    ///
    /// # Errors
    /// A syntax error, an unknown filter or variable, or a text of over 16 KiB.
    pub fn compile(source: &str) -> Result<Self, ExpressionError> {
        let wrong = |reason: String| ExpressionError::Compile {
            text: source.chars().take(200).collect(),
            reason,
        };
        if source.len() > SOURCE_BYTES_MAX {
            let found = source.len();
            return Err(wrong(format!(
                "it has {found} bytes, limit {SOURCE_BYTES_MAX}"
            )));
        }
        let defs = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let funs = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(
                &arena,
                File {
                    code: source,
                    path: (),
                },
            )
            .map_err(|errors| wrong(syntax_reason(source, &errors)))?;
        let filter = Compiler::default()
            .with_funs(funs)
            .compile(modules)
            .map_err(|errors| {
                let names = errors.iter().flat_map(|(_, undefined)| undefined);
                let names: Vec<_> = names
                    .map(|(name, kind)| format!("unknown {} {name}", kind.as_str()))
                    .collect();
                wrong(names.join(", "))
            })?;
        Ok(Self {
            source: Arc::from(source),
            filter: Arc::new(filter),
        })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The first output on `input`, as JSON; no output is the empty value.
    ///
    /// # Errors
    /// What jq raised, or an input that is not what its content type says.
    pub fn run(&self, input: &Value) -> Result<Value, ExpressionError> {
        let Some(output) = self.first(input)? else {
            return Ok(Value::empty());
        };
        let text = output.to_string();
        Ok(Value::new(
            ContentType::JSON,
            Producer::Closure,
            text.as_bytes(),
        ))
    }

    /// Whether the first output on `input` is neither false, null nor absent.
    ///
    /// # Errors
    /// As for [`Expression::run`].
    pub fn holds(&self, input: &Value) -> Result<bool, ExpressionError> {
        let output = self.first(input)?;
        Ok(!matches!(output, None | Some(Val::Null | Val::Bool(false))))
    }

    fn first(&self, input: &Value) -> Result<Option<Val>, ExpressionError> {
        let input = self.input(input)?;
        let ctx = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        let mut outputs = self.filter.id.run((ctx, input)).map(unwrap_valr);
        outputs
            .next()
            .transpose()
            .map_err(|error| self.failed(error.to_string()))
    }

    fn input(&self, input: &Value) -> Result<Val, ExpressionError> {
        let body = input.body();
        if body.is_empty() {
            Ok(Val::Null)
        } else if input.content_type().is_json() {
            jaq_json::read::parse_single(&body).map_err(|error| self.failed(error.to_string()))
        } else if input.content_type().is_msgpack() {
            rmp_serde::from_slice(&body).map_err(|error| self.failed(error.to_string()))
        } else {
            Ok(Val::byte_str(body))
        }
    }

    fn failed(&self, reason: String) -> ExpressionError {
        ExpressionError::Run {
            text: self.source.chars().take(200).collect(),
            reason,
        }
    }
}

fn syntax_reason(source: &str, errors: &jaq_core::load::Errors<&str, ()>) -> String {
    use jaq_core::load::Error;
    let at = |rest: &str| {
        let column = source.len().saturating_sub(rest.len()) + 1;
        if rest.is_empty() {
            "at the end".to_owned()
        } else {
            format!("at column {column}")
        }
    };
    let reasons = errors.iter().flat_map(|(_, error)| match error {
        Error::Io(paths) => paths
            .iter()
            .map(|(path, why)| format!("{path}: {why}"))
            .collect(),
        Error::Lex(problems) => problems
            .iter()
            .map(|(expected, rest)| format!("expected {} {}", expected.as_str(), at(rest)))
            .collect(),
        Error::Parse(problems) => problems
            .iter()
            .map(|(expected, rest)| format!("expected {} {}", expected.as_str(), at(rest)))
            .collect::<Vec<_>>(),
    });
    reasons.collect::<Vec<_>>().join(", ")
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jq({})", self.source)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: &str, input: &Value) -> String {
        let output = Expression::compile(source).unwrap().run(input).unwrap();
        String::from_utf8(output.body().to_vec()).unwrap()
    }

    #[test]
    fn runs_on_json_messagepack_and_nothing_alike() {
        let json = Value::new(ContentType::JSON, Producer::Function, br#"{"n": 3}"#);
        assert_eq!(run(".n + 1", &json), "4");
        let packed = Value::map(&[("n", &Value::encode(&3).unwrap())]).unwrap();
        assert_eq!(run("{answer: [.[]][0]}", &packed), r#"{"answer":3}"#);
        assert_eq!(run(".", &Value::empty()), "null");
        assert_eq!(run("empty", &json), "");
    }

    #[test]
    fn bad_jq_is_refused_with_its_place() {
        let reason = |text| Expression::compile(text).unwrap_err().to_string();
        assert!(reason(".a |").contains("at the end"), "{}", reason(".a |"));
        assert!(reason("nonsense(1)").contains("unknown filter nonsense"));
        assert!(reason("$x").contains("$x"), "{}", reason("$x"));
    }

    #[test]
    fn a_failure_at_run_time_names_the_expression() {
        let failing = Expression::compile(".a + 1").unwrap();
        let error = failing.run(&Value::encode("text").unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("jq expression \".a + 1\" failed"),
            "{error}"
        );
    }
}
