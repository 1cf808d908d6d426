//! Small computations on a value, conditions and transforms, as jq or as closures; and texts.

use std::sync::Arc;

use super::handle::Always;
use super::input::{Arg, Arrives, FromValue, Members};
use super::step::{Blocking, IntoClosure};
use crate::closure::{Closure, StepError};
use crate::draft::{DraftFormula, DraftText};
use crate::graph::Map;
use crate::value::Value;

/// Marks jq expressions, which have no types; what they give is read as what is wanted.
#[derive(Debug)]
pub struct Jq;

/// A jq expression, or a function `fn(T) -> Result<O, E>`, that makes an `O` of a `T`.
#[diagnostic::on_unimplemented(
    message = "this is neither a jq expression nor a closure that makes a `{O}` of a `{T}`",
    note = "write jq as a text, or a closure `fn(T) -> Result<O, E>`"
)]
pub trait IntoFormula<T, O, M> {
    /// Erases its types.
    fn into_formula(self, version: u32) -> Formula;
}

/// A condition or transform without its types; opaque.
#[derive(Debug, Clone)]
pub struct Formula(pub(super) DraftFormula);

impl<T, O> IntoFormula<T, O, Jq> for &str {
    fn into_formula(self, _: u32) -> Formula {
        Formula(DraftFormula::Jq(self.into()))
    }
}

/// Marks closures that are used as formulas.
#[derive(Debug)]
pub struct Compiled<M>(M);

impl<T, O, M, F> IntoFormula<T, O, Compiled<M>> for F
where
    Arg<T>: Arrives,
    F: IntoClosure<Arg<T>, O, M>,
{
    fn into_formula(self, version: u32) -> Formula {
        let closure = self.into_closure();
        Formula(DraftFormula::Closure(Map { closure, version }))
    }
}

/// A jq expression, or where one value `T` arrives a function `fn(&T) -> bool`.
#[diagnostic::on_unimplemented(
    message = "this is neither a jq expression nor a condition on `{S}`",
    note = "write jq as a text, or where one value arrives a closure `|value: &T| -> bool`"
)]
pub trait IntoCondition<S, M> {
    /// Erases its types.
    fn into_condition(self, version: u32) -> Formula;
}

impl<S> IntoCondition<S, Jq> for &str {
    fn into_condition(self, _: u32) -> Formula {
        Formula(DraftFormula::Jq(self.into()))
    }
}

impl<T, F> IntoCondition<Arg<T>, Blocking> for F
where
    T: FromValue,
    F: Fn(&T) -> bool + Send + Sync + 'static,
{
    fn into_condition(self, version: u32) -> Formula {
        let closure = Closure::Sync(Arc::new(move |inputs| {
            let argument = Arg::<T, Always>::read(&mut Members::new(inputs))?;
            Value::encode(&self(&argument)).map_err(StepError::permanent)
        }));
        Formula(DraftFormula::Closure(Map { closure, version }))
    }
}

/// A text that a call sends: as it stands (any `&str`), [`jq`], or a [`secret`].
#[derive(Debug)]
pub struct Text(pub(super) DraftText);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(DraftText::Literal(text.to_owned()))
    }
}

/// What a jq expression makes of the node's input: a string, a number or a boolean.
#[must_use]
pub fn jq(expression: &str) -> Text {
    Text(DraftText::Jq(expression.into()))
}

/// The content of a secret, read at each call and never recorded.
#[must_use]
pub fn secret(name: &str) -> Text {
    Text(DraftText::Secret(name.to_owned()))
}
