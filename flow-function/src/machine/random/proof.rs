//! The proof is proven: each planted bug is found by the schedules that are run in every test.

use super::explore::explore;
use crate::machine::mutation::{Mutation, PLANTED};

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
