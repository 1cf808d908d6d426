//! From a typed closure to one that the platform can run.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;

use super::input::{Arrives, Members};
use crate::closure::{Closure, StepError};
use crate::value::{Body, Producer, Value, ValueError};

/// A type that a closure can return.
pub trait IntoValue {
    /// Makes the value.
    ///
    /// # Errors
    /// What serde cannot write.
    fn into_value(self) -> Result<Value, ValueError>;
}

impl<T: Serialize> IntoValue for T {
    fn into_value(self) -> Result<Value, ValueError> {
        let value = Value::encode(&self)?;
        // A unit is nothing, and nothing travels as the empty value; an enum of one variant has no
        // size either, but a name.
        let nothing = size_of::<T>() == 0 && value.body()[..] == [0xc0];
        Ok(if nothing { Value::empty() } else { value })
    }
}

impl IntoValue for Body {
    fn into_value(self) -> Result<Value, ValueError> {
        // Later steps trust what a closure made, so a body of a known format is checked here.
        let value = Value::new(self.content_type, Producer::Closure, &self.bytes);
        value.sound().map_err(|reason| ValueError::Encode {
            wanted: "Body",
            reason: format!("it is not {}: {reason}", value.content_type().as_str()),
        })?;
        Ok(value)
    }
}

/// Marks plain functions, which run on the blocking pool.
#[derive(Debug)]
pub struct Blocking;

/// Marks async functions.
#[derive(Debug)]
pub struct Asynchronous<R>(PhantomData<R>);

/// A function that a `map` can run on what arrives as `S`.
#[diagnostic::on_unimplemented(
    message = "this closure does not take what arrives, `{S}`",
    label = "wants another argument, or is no `fn(argument) -> Result<_, _>`",
    note = "a handle of `T` gives a `T`, a tuple of handles a tuple, and in a tuple what may be skipped an `Option`"
)]
pub trait IntoClosure<S: Arrives, O, M> {
    /// Erases its types.
    fn into_closure(self) -> Closure;
}

impl<S, O, E, F> IntoClosure<S, O, Blocking> for F
where
    S: Arrives,
    F: Fn(S::Value) -> Result<O, E> + Send + Sync + 'static,
    O: IntoValue,
    E: Into<StepError>,
{
    fn into_closure(self) -> Closure {
        Closure::Sync(Arc::new(move |inputs| {
            let argument = S::read(&mut Members::new(inputs))?;
            let output = self(argument).map_err(Into::into)?;
            output.into_value().map_err(StepError::permanent)
        }))
    }
}

impl<S, O, E, F, R> IntoClosure<S, O, Asynchronous<R>> for F
where
    S: Arrives,
    F: Fn(S::Value) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, E>> + Send + 'static,
    O: IntoValue,
    E: Into<StepError>,
{
    fn into_closure(self) -> Closure {
        Closure::Async(Arc::new(move |inputs| {
            let running = S::read(&mut Members::new(inputs)).map(&self);
            Box::pin(async move {
                let output = running?.await.map_err(Into::into)?;
                output.into_value().map_err(StepError::permanent)
            })
        }))
    }
}
