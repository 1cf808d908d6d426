//! What a step takes: a handle, a tuple of handles, or the request's id.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::handle::{Always, Node, Presence};
use crate::closure::{Inputs, StepError};
use crate::context::Context;
use crate::draft::DraftEdge;
use crate::ids::RequestId;
use crate::value::{Body, Value, ValueError};

/// The edges of an input; opaque.
#[derive(Debug)]
pub struct Wiring(pub(super) Vec<DraftEdge>);

/// What arrived, member by member.
#[derive(Debug)]
pub struct Members<'a> {
    context: &'a Context,
    rest: std::slice::Iter<'a, (Arc<str>, Option<Value>)>,
}

impl<'a> Members<'a> {
    pub(super) fn new(inputs: &'a Inputs) -> Self {
        Self {
            context: &inputs.context,
            rest: inputs.members.iter(),
        }
    }
}

/// A type that a closure can take.
pub trait FromValue: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// Another content type, or a body that is not of this type.
    fn from_value(value: &Value) -> Result<Self, ValueError>;
}

impl<T: DeserializeOwned> FromValue for T {
    fn from_value(value: &Value) -> Result<Self, ValueError> {
        value.decode()
    }
}

impl FromValue for Body {
    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Ok(Self {
            content_type: value.content_type().clone(),
            bytes: value.body(),
        })
    }
}

/// What a step can take.
pub trait Input {
    /// What its closure is given.
    type Value;
    /// Whether the step always runs.
    type Presence: Presence;
    /// The edges.
    fn wiring(&self) -> Wiring;
    /// Reads the closure's argument.
    ///
    /// # Errors
    /// A member that is missing or of another type.
    fn read(members: &mut Members<'_>) -> Result<Self::Value, StepError>;
}

impl<T: FromValue, P: Presence, K> Input for &Node<T, P, K> {
    type Value = T;
    type Presence = P;

    fn wiring(&self) -> Wiring {
        Wiring(vec![self.edge()])
    }

    fn read(members: &mut Members<'_>) -> Result<T, StepError> {
        <(Self,)>::member::<Always>(members)
    }
}

/// The id of the request, for closures that need it, such as an idempotent sink.
#[derive(Debug, Clone, Copy)]
pub struct RequestInput(pub(super) ());

impl Input for RequestInput {
    type Value = RequestId;
    type Presence = Always;

    fn wiring(&self) -> Wiring {
        Wiring(Vec::new())
    }

    fn read(members: &mut Members<'_>) -> Result<RequestId, StepError> {
        Ok(members.context.request())
    }
}

/// What may stand in a tuple of inputs.
pub trait Member {
    /// What the closure is given for it.
    type Arg;
    /// Whether it is always there.
    type Presence: Presence;
    /// Its edges.
    fn wiring(&self) -> Wiring;
    /// Reads it.
    ///
    /// # Errors
    /// A value that is missing or of another type.
    fn read(members: &mut Members<'_>) -> Result<Self::Arg, StepError>;
}

impl<T: FromValue, P: Presence, K> Member for &Node<T, P, K> {
    type Arg = P::Arg<T>;
    type Presence = P;

    fn wiring(&self) -> Wiring {
        Wiring(vec![self.edge()])
    }

    fn read(members: &mut Members<'_>) -> Result<P::Arg<T>, StepError> {
        <(Self,)>::member::<P>(members)
    }
}

impl Member for RequestInput {
    type Arg = RequestId;
    // Has no edge, and so no say in whether the step runs.
    type Presence = super::handle::Maybe;

    fn wiring(&self) -> Wiring {
        Input::wiring(self)
    }

    fn read(members: &mut Members<'_>) -> Result<RequestId, StepError> {
        <Self as Input>::read(members)
    }
}

trait ReadMember<T> {
    fn member<P: Presence>(members: &mut Members<'_>) -> Result<P::Arg<T>, StepError>;
}

impl<T: FromValue, P, K> ReadMember<T> for (&Node<T, P, K>,) {
    fn member<Q: Presence>(members: &mut Members<'_>) -> Result<Q::Arg<T>, StepError> {
        let Some((name, value)) = members.rest.next() else {
            return Err(StepError::permanent(
                "the step has fewer inputs than its closure takes",
            ));
        };
        let read = |value| {
            T::from_value(value)
                .map_err(|error| StepError::permanent(format!("input {name:?}: {error}")))
        };
        let value = value.as_ref().map(read).transpose()?;
        Q::arg(value).ok_or_else(|| StepError::permanent(format!("input {name:?} has no value")))
    }
}

macro_rules! tuple_input {
    ($first:ident $(, $rest:ident)+) => {
        impl<$first: Member $(, $rest: Member)+> Input for ($first, $($rest),+) {
            type Value = ($first::Arg, $($rest::Arg),+);
            type Presence = tuple_input!(@or $first $(, $rest)+);

            #[allow(non_snake_case, reason = "a type parameter names its member")]
            fn wiring(&self) -> Wiring {
                let ($first, $($rest),+) = self;
                let mut edges = $first.wiring().0;
                $(edges.extend($rest.wiring().0);)+
                Wiring(edges)
            }

            fn read(members: &mut Members<'_>) -> Result<Self::Value, StepError> {
                Ok(($first::read(members)?, $($rest::read(members)?),+))
            }
        }
    };
    (@or $only:ident) => { $only::Presence };
    (@or $first:ident $(, $rest:ident)+) => {
        <$first::Presence as Presence>::Or<tuple_input!(@or $($rest),+)>
    };
}
tuple_input!(A, B);
tuple_input!(A, B, C);
tuple_input!(A, B, C, D);
tuple_input!(A, B, C, D, E);
tuple_input!(A, B, C, D, E, F);
tuple_input!(A, B, C, D, E, F, G);
tuple_input!(A, B, C, D, E, F, G, H);
