//! A machine that is read from a snapshot does what the one does that wrote it.

mod life;

use turlough_sdk::read_yaml;
use turlough_statestore::Kind;

use super::*;
use crate::dice::Dice;
use crate::machine::{Action, Given, Run, Work};
use life::{Life, claimed, everything, inline, request, stored, versions};

fn wanted(execution: &mut Execution) -> Vec<String> {
    let shown = |action| match action {
        Action::Run(run) => format!(
            "{} {} {} {:?} {:?} {:?} {:?} {} {:?}",
            run.step,
            run.attempt,
            run.vertex().id,
            run.work,
            run.inputs,
            run.variables,
            run.error,
            run.not_before_us,
            run.vertex().operation,
        ),
        other => format!("{other:?}"),
    };
    let mut all: Vec<_> = execution.next_actions().into_iter().map(shown).collect();
    all.sort();
    all
}

/// From a snapshot of every prefix, the rest of the log does what it does without.
fn holds_for_every_prefix(flow: &Arc<Flow>, log: &[Record]) {
    let mut whole = Execution::new(request(), Arc::clone(flow), versions(flow));
    let mut counted = 0;
    let mut others: Vec<(usize, Execution)> = Vec::new();
    for (at, record) in log.iter().enumerate() {
        counted += usize::from(whole.fold(&record.append));
        let wants = wanted(&mut whole);
        let bytes = whole.snapshot(record.seq).unwrap();
        for (from, other) in &mut others {
            other.fold(&record.append);
            assert_eq!(
                wanted(other),
                wants,
                "from {from}, at {at}: {:?}",
                record.append.events
            );
            let found = other.snapshot(record.seq).unwrap();
            assert!(
                found == bytes,
                "from {from}, at {at}: {:?}\n{whole:?}\n{other:?}",
                record.append.events
            );
        }
        let (restored, of) = Execution::restore(request(), versions(flow), &bytes).unwrap();
        assert_eq!(of, record.seq);
        // Each is followed for a while: what it does not do alike shows by then.
        others.retain(|(from, _)| at - from < 25);
        others.push((at, restored));
    }
    assert!(
        counted * 4 > log.len(),
        "{counted} of {} appends count",
        log.len()
    );
}

#[test]
fn from_the_snapshot_of_any_prefix_everything_goes_on_alike() {
    let flow = everything();
    let mut seen = [0; 4];
    for seed in 0..8 {
        let (mut dice, mut life) = (Dice(seed), Life::new(&flow));
        for _ in 0..200 {
            life.step(&mut dice);
            let execution = &life.execution;
            seen[0] += usize::from(execution.frames.iter().flatten().any(|f| f.made.is_some()));
            seen[1] += usize::from(execution.undo.iter().any(|undo| undo.made.is_some()));
            seen[2] += usize::from(matches!(
                execution.phase,
                crate::machine::Phase::Unwinding(_)
            ));
            seen[3] += usize::from(execution.generation() > 0);
        }
        holds_for_every_prefix(&flow, &life.log);
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

/// A request that has lived for a while, with everything that a snapshot can hold.
fn lived(seed: u64, steps: usize) -> (Arc<Flow>, Life) {
    let flow = everything();
    let (mut dice, mut life) = (Dice(seed), Life::new(&flow));
    for _ in 0..steps {
        life.step(&mut dice);
    }
    (flow, life)
}

/// A snapshot of a life as it stands, in parts, and then what named it.
fn snapshot_into(life: &mut Life, moved: Vec<Moved>) -> Seq {
    let (of, last) = (life.seq(), life.execution.last().unwrap());
    let bytes = life.execution.snapshot(of).unwrap();
    let upload = 0x5a;
    let state = ValueRef::Parts {
        upload,
        count: 2,
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
    };
    let half = bytes.len() / 2;
    let piece = |index, bytes: &[u8]| Event::part(upload, index, &bytes.to_vec().into());
    life.append(Kind::Driver, vec![piece(1, &bytes[half..])]);
    life.append(Kind::Driver, vec![piece(0, &bytes[..half])]);
    let snapshot = Snapshot {
        state,
        of,
        last,
        moved,
        stores: Vec::new(),
        at_us: 1,
    };
    life.append(Kind::Driver, vec![Event::Snapshot(snapshot)]);
    of
}

fn state(execution: &Execution) -> Vec<u8> {
    execution.snapshot(Seq::START).unwrap()
}

#[test]
fn a_log_whose_head_is_gone_is_read_from_its_newest_snapshot() {
    let (flow, mut life) = lived(3, 80);
    let of = snapshot_into(&mut life, Vec::new());
    let mut dice = Dice(9);
    (0..40).for_each(|_| life.step(&mut dice));
    let read = |log: &[Record]| Execution::read(request(), &versions(&flow), log);
    let whole = read(&life.log).unwrap();
    let from = life.log.iter().position(|record| record.seq > of).unwrap();
    let mut tail = read(&life.log[from..]).unwrap();
    // One was folded from the beginning, and was never asked what it wants.
    let mut whole = whole;
    wanted(&mut whole);
    wanted(&mut tail);
    assert_eq!(whole.last(), life.execution.last());
    assert_eq!(whole.status(), tail.status());
    assert_eq!(whole.root_states(), tail.root_states());
    assert_eq!(
        read(&life.log[from + 1..]).unwrap_err(),
        RestoreError::Truncated
    );
    assert_eq!(read(&life.log[..0]).unwrap_err(), RestoreError::Truncated);
}

#[test]
fn what_a_driver_wrote_whose_claim_was_over_is_no_snapshot() {
    let (flow, mut life) = lived(3, 80);
    let epoch = life.execution.epoch();
    let before = life.execution.last();
    life.append(Kind::Driver, vec![claimed(epoch + 1, 90_000_000)]);
    let from = life.log.len();
    snapshot_into(&mut life, Vec::new());
    // The same, but by the driver before.
    for record in &mut life.log[from..] {
        record.append.envelope.epoch = epoch;
        record.append.envelope.after = before;
    }
    let read = Execution::read(request(), &versions(&flow), &life.log[from..]);
    assert_eq!(read.unwrap_err(), RestoreError::Truncated);
}

#[test]
fn values_that_were_written_again_are_found_in_their_new_places() {
    let (flow, mut life) = lived(5, 60);
    let parts = life.execution.parts();
    assert!(parts.len() > 2, "{parts:?}");
    assert!(parts.contains(&stored(100)), "the request's own input");
    let moved = parts.iter().filter_map(|part| match part {
        ValueRef::Parts { upload, .. } => Some(Moved {
            from: *upload,
            to: upload + 1_000_000,
        }),
        _ => None,
    });
    let moved: Vec<_> = moved.collect();
    let of = snapshot_into(&mut life, moved.clone());
    let places = |execution: &Execution| -> Vec<_> {
        let parts = execution.parts().into_iter();
        parts
            .filter_map(|part| match part {
                ValueRef::Parts { upload, .. } => Some(upload),
                _ => None,
            })
            .collect()
    };
    let wanted: Vec<_> = moved.iter().map(|moved| moved.to).collect();
    assert_eq!(places(&life.execution), wanted);
    let from = life.log.iter().position(|record| record.seq > of).unwrap();
    let tail = Execution::read(request(), &versions(&flow), &life.log[from..]).unwrap();
    assert!(
        state(&tail) == state(&life.execution),
        "a reader of the snapshot moves them too"
    );
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let (flow, life) = lived(3, 80);
    let bytes = life.execution.snapshot(life.seq()).unwrap();
    let restore =
        |versions, bytes: &[u8]| Execution::restore(request(), versions, bytes).unwrap_err();
    #[derive(serde::Serialize)]
    struct Newer {
        format: u8,
        frames: &'static str,
    }
    let newer = rmp_serde::to_vec_named(&Newer {
        format: 9,
        frames: "none",
    })
    .unwrap();
    assert_eq!(
        restore(versions(&flow), &newer),
        RestoreError::Newer { found: 9 }
    );
    let cut = restore(versions(&flow), &bytes[..bytes.len() / 2]);
    assert!(matches!(cut, RestoreError::Broken(_)), "{cut}");
    let none = restore(Versions(Arc::new(|_| None)), &bytes);
    assert!(matches!(none, RestoreError::NoVersion { .. }), "{none}");
    let other = Arc::new(read_yaml("flow: everything\nnodes: { a: { apply: f } }").unwrap());
    let other = restore(versions(&other), &bytes);
    assert!(matches!(other, RestoreError::Broken(_)), "{other}");
}

#[test]
fn an_external_append_counts_once_also_after_a_snapshot() {
    let (flow, mut life) = lived(3, 5);
    let (name, value) = ("go".to_owned(), inline(1));
    let signal = Event::Signalled {
        name,
        value,
        at_us: 1,
    };
    life.append(Kind::External, vec![signal]);
    let again = life.log.last().unwrap().append.clone();
    let bytes = life.execution.snapshot(life.seq()).unwrap();
    let (mut restored, _) = Execution::restore(request(), versions(&flow), &bytes).unwrap();
    assert!(!life.execution.fold(&again) && !restored.fold(&again));
}
