//! What every node of a graph has, by node: a list that lies in its owner where the graph has one node,
//! as most bodies do. There may be as many frames as items, and each allocation of one counts.

use std::ops::{Deref, DerefMut};

/// As many as there are nodes.
#[derive(Debug)]
pub(super) enum PerNode<T> {
    One([T; 1]),
    Any(Box<[T]>),
}

impl<T> Default for PerNode<T> {
    fn default() -> Self {
        Self::Any(Box::default())
    }
}

impl<T> FromIterator<T> for PerNode<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut all = all.into_iter();
        match (all.next(), all.next()) {
            (Some(only), None) => Self::One([only]),
            (first, second) => Self::Any(first.into_iter().chain(second).chain(all).collect()),
        }
    }
}

impl<T> Deref for PerNode<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => one,
            Self::Any(all) => all,
        }
    }
}

impl<T> DerefMut for PerNode<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => one,
            Self::Any(all) => all,
        }
    }
}
