//! What only few nodes of a graph have, by node: one word where none has it, and little where one has.
//! There may be as many frames as items, and most have nothing rare.

use std::collections::BTreeMap;

/// A map from nodes that is mostly empty.
#[derive(Debug)]
pub(super) struct Sparse<V>(Option<Box<Few<V>>>);

#[derive(Debug)]
enum Few<V> {
    One(usize, V),
    Any(BTreeMap<usize, V>),
}

impl<V> Sparse<V> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn get(&self, node: &usize) -> Option<&V> {
        match self.0.as_deref()? {
            Few::One(one, value) => (one == node).then_some(value),
            Few::Any(map) => map.get(node),
        }
    }

    pub(super) fn get_mut(&mut self, node: &usize) -> Option<&mut V> {
        match self.0.as_deref_mut()? {
            Few::One(one, value) => (one == node).then_some(value),
            Few::Any(map) => map.get_mut(node),
        }
    }

    pub(super) fn contains_key(&self, node: &usize) -> bool {
        self.get(node).is_some()
    }

    pub(super) fn insert(&mut self, node: usize, value: V) {
        if let Some(Few::Any(map)) = self.0.as_deref_mut() {
            map.insert(node, value);
            return;
        }
        let few = match self.0.take().map(|few| *few) {
            Some(Few::One(one, old)) if one != node => {
                Few::Any(BTreeMap::from([(one, old), (node, value)]))
            }
            _ => Few::One(node, value),
        };
        self.0 = Some(Box::new(few));
    }

    pub(super) fn remove(&mut self, node: &usize) -> Option<V> {
        self.get(node)?;
        if let Some(Few::Any(map)) = self.0.as_deref_mut()
            && map.len() > 1
        {
            return map.remove(node);
        }
        match *self.0.take()? {
            Few::One(_, value) => Some(value),
            Few::Any(mut map) => map.remove(node),
        }
    }

    /// In the order of the nodes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&usize, &V)> {
        let (one, any) = match self.0.as_deref() {
            Some(Few::One(node, value)) => (Some((node, value)), None),
            Some(Few::Any(map)) => (None, Some(map)),
            None => (None, None),
        };
        one.into_iter().chain(any.into_iter().flatten())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<V> FromIterator<(usize, V)> for Sparse<V> {
    fn from_iter<I: IntoIterator<Item = (usize, V)>>(all: I) -> Self {
        let mut map = Self::new();
        all.into_iter()
            .for_each(|(node, value)| map.insert(node, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_map_would_hold() {
        let (mut sparse, mut map) = (Sparse::new(), BTreeMap::new());
        let steps = [
            (4, true),
            (4, true),
            (2, true),
            (9, false),
            (4, false),
            (2, false),
        ];
        for (at, (node, puts)) in steps.into_iter().cycle().take(15).enumerate() {
            if puts {
                sparse.insert(node, at);
                map.insert(node, at);
            } else {
                assert_eq!(sparse.remove(&node), map.remove(&node));
            }
            assert!(sparse.iter().eq(map.iter()));
            assert_eq!(sparse.get(&4), map.get(&4));
            assert_eq!(sparse.get_mut(&2), map.get_mut(&2));
        }
    }
}
