//! The proof is proven: each planted bug is found by the schedules that are run in every test.

use super::explore::{AGREED, explore};
use crate::machine::mutation::{Mutation, PLANTED};

/// Planted bugs that the first schedules find, on which the machine without one agrees.
const FOUND_EARLY: usize = 30;

#[test]
fn most_planted_bugs_are_found_by_the_first_schedules() {
    let found = Mutation::ALL.iter().filter(|mutation| {
        let plant = || PLANTED.with(|planted| planted.set(Some(**mutation)));
        explore(AGREED, plant).is_err()
    });
    let found: Vec<_> = found.collect();
    assert!(found.len() >= FOUND_EARLY, "only {found:?}");
}

#[test]
#[ignore = "means nothing before the machine without a planted bug passes"]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let plant = || PLANTED.with(|planted| planted.set(Some(*mutation)));
        match explore(20_000, plant) {
            Ok(_) => missed.push(*mutation),
            Err((seed, error)) => {
                let why: Vec<_> = error.lines().skip(1).take(3).collect();
                println!("{mutation:?}: schedule {seed}: {:.150}", why.join(" "));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "not found within 20,000 schedules: {missed:?}"
    );
}
