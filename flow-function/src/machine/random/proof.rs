//! The proof is proven: each planted bug is found by the schedules that are run in every test.

use super::explore::{SCHEDULES, explore};
use crate::machine::mutation::{Mutation, PLANTED};

#[test]
fn every_planted_bug_is_found() {
    let missed = Mutation::ALL.iter().filter(|mutation| {
        let plant = || PLANTED.with(|planted| planted.set(Some(**mutation)));
        match explore(SCHEDULES, plant) {
            Ok(_) => true,
            Err((seed, _)) => {
                println!("{mutation:?}: found by seed {seed}");
                false
            }
        }
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
