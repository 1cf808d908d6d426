//! jq expressions: compiled once, at validation, and run on values and a few named variables.
//!
//! Invariants: an expression reads nothing but its input and its variables (no environment, no
//! files); source, input and output are bounded in nesting, and numbers in digits. An expression
//! with a bound ([`Expression::is_bounded`]) takes time and memory in proportion to what it is given.
//! Absent: a bound for all others, which may never end, or end their process by exhausting its
//! stack or its memory: those belong into a process of their own, under a limit.

mod bound;
mod output;
mod variables;
mod weight;

pub use bound::Bound;
pub use variables::{Uses, Variables};

use std::fmt;
use std::sync::Arc;

use jaq_core::compile::Undefined;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data};
use jaq_json::Val;

use crate::value::{ContentType, Producer, Value};
use bound::Proof;

type Filter = jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>;

/// Longest expression, in bytes.
const SOURCE_BYTES_MAX: usize = 16 * 1024;

/// A compiled jq expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    filter: Arc<Filter>,
    uses: Uses,
    /// Shared, as it is large: an expression stands, or could, at every edge of a graph.
    proof: Option<Arc<Proof>>,
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
        if !weight::bearable(source) {
            let limit = weight::WEIGHT_MAX;
            return Err(wrong(format!(
                "it chains or nests more than {limit} operators; split it into several steps"
            )));
        }
        // The filters that jq defines in jq cost 0.1 MB and 1 ms each time, and few need them.
        let uses = Uses::of(source);
        let filter = filter(source, uses, false)
            .or_else(|_| filter(source, uses, true))
            .map_err(wrong)?;
        Ok(Self {
            source: Arc::from(source),
            filter: Arc::new(filter),
            uses,
            proof: Proof::of(source).map(Arc::new),
        })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Which variables it mentions: the others need not be given.
    #[must_use]
    pub const fn uses(&self) -> Uses {
        self.uses
    }

    /// Whether every evaluation is known to take time and memory in proportion to the size of the
    /// source times the size of input and variables. False says that nothing is known.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.proof.is_some()
    }

    /// The most that this evaluation takes, where that is known.
    #[must_use]
    pub fn bound(&self, input: &Value, variables: &Variables) -> Option<Bound> {
        let proof = self.proof.as_ref()?;
        Some(proof.bound(input, variables.bytes(self.uses)))
    }

    /// The first output on `input`, as JSON; no output is the empty value, and bytes stay bytes.
    ///
    /// # Errors
    /// What jq raised, an input that is not what its content type says, or an output that JSON
    /// cannot hold.
    pub fn run(&self, input: &Value, variables: &Variables) -> Result<Value, ExpressionError> {
        let Some(output) = self.first(input, variables)? else {
            return Ok(Value::empty());
        };
        if let Val::BStr(bytes) = &output {
            return Ok(Value::new(ContentType::BYTES, Producer::Closure, bytes));
        }
        let text = output::to_json(&output);
        output::drop_flat(output);
        let text = text.map_err(|reason| self.failed(reason))?;
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
    pub fn holds(&self, input: &Value, variables: &Variables) -> Result<bool, ExpressionError> {
        let output = self.first(input, variables)?;
        let holds = !matches!(output, None | Some(Val::Null | Val::Bool(false)));
        if let Some(output) = output {
            output::drop_flat(output);
        }
        Ok(holds)
    }

    fn first(&self, input: &Value, variables: &Variables) -> Result<Option<Val>, ExpressionError> {
        let failed = |reason| self.failed(reason);
        let variables = variables.values(self.uses).map_err(failed)?;
        let input = output::read(input).map_err(failed)?;
        let ctx = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new(variables));
        let mut outputs = self.filter.id.run((ctx, input));
        outputs.next().transpose().map_err(|raised| {
            let reason = raised.get_err().map(|error| error.to_string());
            self.failed(reason.unwrap_or_else(|_| "it broke off".to_owned()))
        })
    }

    fn failed(&self, reason: String) -> ExpressionError {
        ExpressionError::Run {
            text: self.source.chars().take(200).collect(),
            // jq quotes the data that it failed on.
            reason: reason.chars().take(500).collect(),
        }
    }
}

/// What of jq's own library would reach the process: its environment, its exit and its output.
const REFUSED: [&str; 6] = [
    "env",
    "halt",
    "halt_error",
    "stderr",
    "stderr_empty",
    "input_line_number",
];

/// Compiles with the native filters, or with those too that jq defines in jq.
fn filter(source: &str, uses: Uses, with_library: bool) -> Result<Filter, String> {
    let library = || {
        jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs())
    };
    let defs = with_library
        .then(library)
        .into_iter()
        .flatten()
        .filter(|def| !REFUSED.contains(&def.name));
    let funs = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !REFUSED.contains(name));
    let arena = Arena::default();
    let file = File {
        code: source,
        path: (),
    };
    let modules = Loader::new(defs)
        .load(&arena, file)
        .map_err(|errors| syntax_reason(source, &errors))?;
    Compiler::default()
        .with_funs(funs)
        .with_global_vars(uses.names())
        .compile(modules)
        .map_err(|errors| {
            let names = errors.iter().flat_map(|(_, undefined)| undefined);
            let names: Vec<_> = names.map(|(name, kind)| unknown(name, kind)).collect();
            names.join(", ")
        })
}

fn unknown(name: &str, kind: &Undefined) -> String {
    match kind {
        Undefined::Var => {
            let known = variables::NAMES.join(", ");
            format!("unknown variable {name}; there are {known}")
        }
        kind => format!("unknown {} {name}", kind.as_str()),
    }
}

fn syntax_reason(source: &str, errors: &jaq_core::load::Errors<&str, ()>) -> String {
    use jaq_core::load::Error;
    let at = |rest: &str| {
        let at = source.len().saturating_sub(rest.len());
        let before = source.get(..at).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        match before.matches('\n').count() {
            _ if rest.trim().is_empty() => "at the end".to_owned(),
            0 => format!("at column {column}"),
            lines => format!("at line {}, column {column}", lines + 1),
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
        let output = Expression::compile(source)
            .unwrap()
            .run(input, &Variables::default())
            .unwrap();
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
        let text = Value::encode("text").unwrap();
        let error = failing.run(&text, &Variables::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("jq expression \".a + 1\" failed"),
            "{error}"
        );
    }
}
