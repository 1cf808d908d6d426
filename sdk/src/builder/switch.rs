//! A choice among cases.

use super::formula::{Formula, IntoCondition};
use super::handle::{Given, Maybe, Node, Whole};
use super::input::Arg;
use crate::draft::{DraftFormula, DraftOperation};

/// A switch under construction. The first case that holds is taken; where none does, the default;
/// where there is none, everything that hangs on the switch alone is skipped.
#[derive(Debug)]
pub struct Switch<T> {
    pub(super) node: Node<T, Maybe, Whole<Arg<T>>>,
}

impl<T> Switch<T> {
    /// All cases that hold are taken, instead of the first.
    #[must_use]
    pub fn all(self) -> Self {
        let node = self.node.change(|node| {
            if let DraftOperation::Switch { all, .. } = &mut node.operation {
                *all = true;
            }
        });
        Self { node }
    }

    /// The version of the closures that are conditions; say it before the cases. 1 by default.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        let node = self.node.version(version);
        Self { node }
    }

    /// A case with a condition, jq or a closure `|value: &T| -> bool`; its value is the switch's
    /// input.
    #[must_use]
    pub fn when<M>(&self, condition: impl IntoCondition<Arg<T>, M>) -> Node<T, Maybe, Given> {
        let Formula(when) = condition.into_condition(self.node.version);
        self.case(Some(when))
    }

    /// The default; declare it last.
    #[must_use]
    pub fn otherwise(&self) -> Node<T, Maybe, Given> {
        self.case(None)
    }

    fn case(&self, when: Option<DraftFormula>) -> Node<T, Maybe, Given> {
        let mut graph = self.node.work.graph.borrow_mut();
        let node = self.node.index.and_then(|ix| graph.nodes.get_mut(ix));
        let case = match node.map(|node| &mut node.operation) {
            Some(DraftOperation::Switch { cases, .. }) => {
                cases.push(when);
                cases.len() - 1
            }
            _ => 0,
        };
        Node::given(&self.node.work, self.node.source.clone(), Some(case))
    }
}
