//! What a step takes: a handle, a tuple of handles, the request's id or its context.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::handle::{Always, Maybe, Node, Presence, Types};
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

/// What arrives at a closure, by its types: an [`Arg`], what has no edge, or a tuple of these.
pub trait Arrives {
    /// What the closure is given.
    type Value;
    /// Reads it.
    ///
    /// # Errors
    /// A member that is missing or of another type.
    fn read(members: &mut Members<'_>) -> Result<Self::Value, StepError>;
}

/// One value.
#[derive(Debug)]
pub struct Arg<T, P = Always>(Types<(T, P)>);

impl<T: FromValue, P: Presence> Arrives for Arg<T, P> {
    type Value = P::Arg<T>;

    fn read(members: &mut Members<'_>) -> Result<P::Arg<T>, StepError> {
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
        P::arg(value).ok_or_else(|| StepError::permanent(format!("input {name:?} has no value")))
    }
}

/// All that arrives as one value: several members as a map.
#[derive(Debug)]
pub struct Joined<T>(Types<T>);

impl<T: FromValue> Arrives for Joined<T> {
    type Value = T;

    fn read(members: &mut Members<'_>) -> Result<T, StepError> {
        let inputs = Inputs {
            context: members.context.clone(),
            members: members.rest.as_slice().to_vec(),
        };
        let value = inputs.joined().map_err(StepError::permanent)?;
        T::from_value(&value).map_err(|error| StepError::permanent(format!("input: {error}")))
    }
}

/// What a step can take.
pub trait Input {
    /// What its closure is given.
    type Args: Arrives;
    /// Whether the step always runs.
    type Presence: Presence;
    /// The edges.
    fn wiring(&self) -> Wiring;
}

impl<T: FromValue, P: Presence, K> Input for &Node<T, P, K> {
    // A step does not run where its only input is not there.
    type Args = Arg<T>;
    type Presence = P;

    fn wiring(&self) -> Wiring {
        Wiring(vec![self.edge()])
    }
}

/// What may stand in a tuple of inputs.
pub trait Member {
    /// What the closure is given for it.
    type Arg: Arrives;
    /// Whether it is always there.
    type Presence: Presence;
    /// Its edges.
    fn wiring(&self) -> Wiring;
}

impl<T: FromValue, P: Presence, K> Member for &Node<T, P, K> {
    type Arg = Arg<T, P>;
    type Presence = P;

    fn wiring(&self) -> Wiring {
        Wiring(vec![self.edge()])
    }
}

/// The id of the request, for closures that need it, such as an idempotent sink.
#[derive(Debug, Clone, Copy)]
pub struct RequestInput(pub(super) ());

impl Arrives for RequestInput {
    type Value = RequestId;

    fn read(members: &mut Members<'_>) -> Result<RequestId, StepError> {
        Ok(members.context.request())
    }
}

/// What is known of the request, as an input of a closure.
#[derive(Debug, Clone, Copy)]
pub struct ContextInput(pub(super) ());

impl Arrives for ContextInput {
    type Value = Context;

    fn read(members: &mut Members<'_>) -> Result<Context, StepError> {
        Ok(members.context.clone())
    }
}

/// The edges of what only has to come first; made by [`after`].
#[derive(Debug)]
pub struct After<P>(DraftEdge, Types<P>);

/// What has to come first, as the only input of a step: the step is given nothing. A step with
/// inputs of its own says it by [`Node::after`].
pub fn after<T, P, K>(node: &Node<T, P, K>) -> After<P> {
    let mut edge = node.edge();
    edge.data = false;
    After(edge, Types::default())
}

/// Nothing arrives.
#[derive(Debug)]
pub struct Nothing;

impl Arrives for Nothing {
    type Value = ();

    fn read(_: &mut Members<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

impl<P: Presence> Input for After<P> {
    type Args = Nothing;
    type Presence = P;

    fn wiring(&self) -> Wiring {
        Wiring(vec![self.0.clone()])
    }
}

macro_rules! without_edge {
    ($($input:ident)+) => {$(
        impl Input for $input {
            type Args = Self;
            type Presence = Always;

            fn wiring(&self) -> Wiring {
                Wiring(Vec::new())
            }
        }

        impl Member for $input {
            type Arg = Self;
            // Has no edge, and so no say in whether the step runs.
            type Presence = Maybe;

            fn wiring(&self) -> Wiring {
                Wiring(Vec::new())
            }
        }
    )+};
}
without_edge!(RequestInput ContextInput);

macro_rules! tuple_input {
    ($first:ident $(, $rest:ident)+) => {
        impl<$first: Arrives $(, $rest: Arrives)+> Arrives for ($first, $($rest),+) {
            type Value = ($first::Value, $($rest::Value),+);

            fn read(members: &mut Members<'_>) -> Result<Self::Value, StepError> {
                Ok(($first::read(members)?, $($rest::read(members)?),+))
            }
        }

        impl<$first: Member $(, $rest: Member)+> Input for ($first, $($rest),+) {
            type Args = ($first::Arg, $($rest::Arg),+);
            type Presence = tuple_input!(@or $first $(, $rest)+);

            #[allow(non_snake_case, reason = "a type parameter names its member")]
            fn wiring(&self) -> Wiring {
                let ($first, $($rest),+) = self;
                let mut edges = $first.wiring().0;
                $(edges.extend($rest.wiring().0);)+
                Wiring(edges)
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
