//! What only few nodes of a graph have, by node: one word where none has it. There may be as many
//! frames as items, and most have nothing rare.

use std::collections::{BTreeMap, btree_map};

/// A map from nodes that is mostly empty.
#[derive(Debug)]
#[allow(clippy::box_collection, reason = "one word where it is empty")]
pub(super) struct Sparse<V>(Option<Box<BTreeMap<usize, V>>>);

impl<V> Sparse<V> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn get(&self, node: &usize) -> Option<&V> {
        self.0.as_ref()?.get(node)
    }

    pub(super) fn get_mut(&mut self, node: &usize) -> Option<&mut V> {
        self.0.as_mut()?.get_mut(node)
    }

    pub(super) fn contains_key(&self, node: &usize) -> bool {
        self.get(node).is_some()
    }

    pub(super) fn insert(&mut self, node: usize, value: V) {
        self.0.get_or_insert_default().insert(node, value);
    }

    pub(super) fn entry(&mut self, node: usize) -> btree_map::Entry<'_, usize, V> {
        self.0.get_or_insert_default().entry(node)
    }

    pub(super) fn remove(&mut self, node: &usize) -> Option<V> {
        let map = self.0.as_mut()?;
        let value = map.remove(node);
        if map.is_empty() {
            self.0 = None;
        }
        value
    }

    /// In the order of the nodes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&usize, &V)> {
        self.0.iter().flat_map(|map| map.iter())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<V> FromIterator<(usize, V)> for Sparse<V> {
    fn from_iter<I: IntoIterator<Item = (usize, V)>>(all: I) -> Self {
        let map: BTreeMap<_, _> = all.into_iter().collect();
        Self((!map.is_empty()).then(|| Box::new(map)))
    }
}
