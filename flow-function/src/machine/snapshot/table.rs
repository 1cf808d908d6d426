//! Values that a machine shares stand once in a snapshot, and are shared again after it is read.

use std::collections::HashMap;
use std::sync::Arc;

use turlough_sdk::ValueRef;

use super::RestoreError;
use super::saved::{SavedGiven, SavedMade};
use crate::machine::frame::Made;
use crate::machine::given::Given;

type Members = Vec<(Arc<str>, Given)>;

/// What stands in the tables so far, by where it lies in memory.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) values: Vec<Arc<ValueRef>>,
    pub(super) maps: Vec<Vec<(Arc<str>, SavedGiven)>>,
    pub(super) graphs: Vec<SavedMade>,
    value_at: HashMap<*const ValueRef, u32>,
    map_at: HashMap<*const Members, u32>,
    graph_at: HashMap<*const Made, u32>,
}

impl Tables {
    pub(super) fn value(&mut self, value: &Arc<ValueRef>) -> u32 {
        let values = &mut self.values;
        *self.value_at.entry(Arc::as_ptr(value)).or_insert_with(|| {
            values.push(Arc::clone(value));
            place(values.len())
        })
    }

    pub(super) fn graph(&mut self, made: &Arc<Made>) -> u32 {
        let graphs = &mut self.graphs;
        *self.graph_at.entry(Arc::as_ptr(made)).or_insert_with(|| {
            graphs.push(SavedMade {
                step: made.step.clone(),
                text: made.text.clone(),
                version: made.flow.version().to_string(),
                depth: made.depth,
            });
            place(graphs.len())
        })
    }

    pub(super) fn given(&mut self, given: &Given) -> SavedGiven {
        if let Given::Map(members) = given {
            self.add_map(members);
        }
        self.shallow(given)
    }

    /// Maps may stand in one another as deep as a chain of joins is long: no recursion.
    fn add_map(&mut self, map: &Arc<Members>) {
        let mut left = vec![(Arc::clone(map), false)];
        while let Some((map, inner_done)) = left.pop() {
            if self.map_at.contains_key(&Arc::as_ptr(&map)) {
                continue;
            }
            if inner_done {
                let members = map
                    .iter()
                    .map(|(name, given)| (Arc::clone(name), self.shallow(given)));
                let members = members.collect();
                self.maps.push(members);
                self.map_at
                    .insert(Arc::as_ptr(&map), place(self.maps.len()));
                continue;
            }
            let inner: Vec<_> = map
                .iter()
                .filter_map(|(_, given)| match given {
                    Given::Map(inner) => Some((Arc::clone(inner), false)),
                    _ => None,
                })
                .collect();
            left.push((map, true));
            left.extend(inner);
        }
    }

    /// A value whose maps stand in the table.
    fn shallow(&mut self, given: &Given) -> SavedGiven {
        match given {
            Given::Empty => SavedGiven::Empty,
            Given::Value(value) => SavedGiven::Value(self.value(value)),
            Given::Item { manifest, index } => SavedGiven::Item {
                manifest: self.value(manifest),
                index: *index,
            },
            Given::Map(map) => SavedGiven::Map(self.map_at[&Arc::as_ptr(map)]),
        }
    }
}

/// The place of what was added last. Tables are bounded by the machine's memory, far below 2³².
fn place(length: usize) -> u32 {
    u32::try_from(length - 1).unwrap_or(u32::MAX)
}

/// The values of a snapshot that is read.
pub(super) struct Values {
    values: Vec<Arc<ValueRef>>,
    maps: Vec<Arc<Members>>,
}

impl Values {
    pub(super) fn new(
        values: Vec<Arc<ValueRef>>,
        maps: Vec<Vec<(Arc<str>, SavedGiven)>>,
    ) -> Result<Self, RestoreError> {
        let mut all = Self {
            values,
            maps: Vec::with_capacity(maps.len()),
        };
        for map in maps {
            // A map stands after those that stand in it.
            let member = |(name, given)| Ok((name, all.given(given)?));
            let members = map
                .into_iter()
                .map(member)
                .collect::<Result<_, RestoreError>>()?;
            all.maps.push(Arc::new(members));
        }
        Ok(all)
    }

    pub(super) fn value(&self, at: u32) -> Result<Arc<ValueRef>, RestoreError> {
        let value = self.values.get(at as usize).cloned();
        value.ok_or_else(|| RestoreError::Broken(format!("value {at} is not in its table")))
    }

    pub(super) fn given(&self, saved: SavedGiven) -> Result<Given, RestoreError> {
        Ok(match saved {
            SavedGiven::Empty => Given::Empty,
            SavedGiven::Value(at) => Given::Value(self.value(at)?),
            SavedGiven::Item { manifest, index } => Given::Item {
                manifest: self.value(manifest)?,
                index,
            },
            SavedGiven::Map(at) => {
                let map = self.maps.get(at as usize).cloned();
                let missing = || RestoreError::Broken(format!("map {at} is not in its table"));
                Given::Map(map.ok_or_else(missing)?)
            }
        })
    }

    pub(super) fn some(&self, saved: Option<SavedGiven>) -> Result<Option<Given>, RestoreError> {
        saved.map(|saved| self.given(saved)).transpose()
    }
}
