//! Which appends count, and what is due when.

use std::time::Duration;

use proptest::prelude::*;
use turlough_sdk::ReplicaId;
use turlough_statestore::event::{Accepted, Outcome};
use turlough_statestore::{Append, AppendId, Envelope, Event, Kind, Standing};
use uuid::Uuid;

use super::*;
use crate::clock::Now;

pub(crate) struct Pen {
    pub(crate) row: Option<Row>,
    seq: u64,
    pub(crate) after: Option<AppendId>,
    pub(crate) epoch: u64,
}

fn replica(number: u64) -> ReplicaId {
    ReplicaId::from_uuid(Uuid::from_u128(u128::from(number)))
}

const RULES: Rules = Rules {
    grace_us: 2,
    repeat_us: 30,
    silent_us: 50,
    max_age_us: 10_000,
};

impl Pen {
    /// Accepted at 100, to end at 1,000.
    fn accepted() -> Self {
        let mut pen = Self {
            row: None,
            seq: 0,
            after: None,
            epoch: 0,
        };
        let accepted = Event::Accepted(Accepted {
            flow: "etl".parse().unwrap(),
            version: "v1".to_owned(),
            tenant: "acme".parse().unwrap(),
            input: turlough_sdk::ValueRef::Inline(vec![7; 10].into()),
            query: Vec::new(),
            headers: Vec::new(),
            parent: None,
            callbacks: Vec::new(),
            call_id: None,
            delivery: None,
            trace: None,
            deadline_us: 1_000,
            at_us: 100,
        });
        pen.write(Kind::Driver, vec![accepted], None);
        pen
    }

    fn write(&mut self, kind: Kind, events: Vec<Event>, wake_at_us: Option<u64>) -> AppendId {
        self.seq += 1;
        let id = AppendId(u128::from(self.seq));
        let envelope = Envelope {
            id,
            after: self.after,
            kind,
            epoch: self.epoch,
            replica: replica(self.epoch),
            function: "flows".parse().unwrap(),
            generation: 0,
            deadline_us: None,
            wake_at_us,
            standing: Standing::Running,
        };
        let append = Append::new(envelope, events);
        self.row = Row::fold(self.row.take(), self.seq, &append, 100);
        self.after = Some(id);
        id
    }

    fn claim(&mut self) -> AppendId {
        self.epoch += 1;
        let claimed = Event::Claimed {
            replica: replica(self.epoch),
            epoch: self.epoch,
            at_us: 100,
        };
        self.write(Kind::Driver, vec![claimed], None)
    }

    fn row(&mut self) -> &mut Row {
        self.row.as_mut().unwrap()
    }

    fn take(&mut self, wall_us: u64, own_us: u64) -> Vec<Thing> {
        let request = RequestId::from_uuid(Uuid::nil());
        let due = self
            .row()
            .take_due(request, Now { wall_us, own_us }, &RULES);
        due.into_iter().map(|work| work.thing).collect()
    }
}

fn signal() -> Vec<Event> {
    vec![Event::ResumeAsked { at_us: 100 }]
}

#[test]
fn a_driver_counts_after_the_last_that_counted_or_any_external_append_since() {
    for taken in 0..3 {
        let mut pen = Pen::accepted();
        let claim = pen.claim();
        let after = [
            claim,
            pen.write(Kind::External, signal(), None),
            AppendId(99),
        ];
        let second = pen.write(Kind::External, signal(), None);
        pen.after = Some([after[0], after[1], second][taken]);
        pen.write(Kind::Driver, vec![Event::Settled { at_us: 5 }], None);
        assert!(!pen.row().is_open(), "{taken}");
    }
}

#[test]
fn a_driver_that_was_overtaken_changes_nothing_but_what_was_seen_last() {
    let mut pen = Pen::accepted();
    let first = pen.claim();
    let second = pen.claim();
    let before = pen.row().said_by_log();
    for (after, epoch) in [(second, 1), (first, 2), (first, 1), (AppendId(77), 2)] {
        (pen.after, pen.epoch) = (Some(after), epoch);
        pen.write(Kind::Driver, vec![Event::Settled { at_us: 5 }], None);
        let row = pen.row().said_by_log();
        let seen = Row {
            last_seq: row.last_seq,
            log_bytes: row.log_bytes,
            ..before.clone()
        };
        assert_eq!(row, seen);
    }
    // Nor does a claim below the newest.
    (pen.after, pen.epoch) = (Some(second), 1);
    pen.claim();
    let claim = pen.row().claim.unwrap();
    assert_eq!((claim.append, claim.claimant.epoch), (second, 2));
}

#[test]
fn past_the_bound_of_external_appends_no_driver_is_ignored() {
    let mut pen = Pen::accepted();
    pen.claim();
    for _ in 0..1_000 {
        pen.write(Kind::External, signal(), None);
    }
    pen.write(Kind::Driver, vec![Event::Settled { at_us: 5 }], None);
    assert!(!pen.row().is_open());
}

#[test]
fn parts_alone_are_no_request_and_a_log_without_a_head_is_one() {
    let part = || vec![Event::part(7, 0, &vec![1].into())];
    let mut pen = Pen {
        row: None,
        seq: 0,
        after: None,
        epoch: 0,
    };
    for _ in 0..3 {
        pen.write(Kind::Driver, part(), None);
        assert_eq!(pen.row, None);
    }
    pen.epoch = 3;
    pen.write(Kind::Driver, part(), None);
    let row = pen.row();
    assert_eq!(
        (row.flow.as_str(), row.is_open(), row.is_held),
        ("unknown", true, true)
    );
    pen.claim();
    assert_eq!(pen.row().claim.unwrap().claimant.epoch, 4);
}

#[test]
fn what_an_event_says_is_due_by_the_wall_and_what_others_leave_undone_by_own_time() {
    let mut pen = Pen::accepted();
    assert_eq!(pen.take(0, 101), []);
    assert_eq!(
        pen.take(0, 102),
        [Thing::Accepted],
        "whatever the wall says"
    );
    assert_eq!(pen.take(0, 131), [], "not twice within the interval");
    assert_eq!(pen.take(0, 132), [Thing::Accepted]);
    pen.claim();
    assert_eq!(pen.take(0, 149), []);
    assert_eq!(pen.take(0, 150), [Thing::Ask]);
    pen.write(Kind::Driver, vec![Event::Released { at_us: 1 }], Some(500));
    assert_eq!(pen.take(499, 900), []);
    assert_eq!(pen.take(500, 900), [Thing::Due]);
    assert_eq!(pen.take(1_002, 901), [Thing::Deadline]);
    assert_eq!(pen.take(1_003, 902), []);
    pen.write(Kind::External, signal(), None);
    assert_eq!(
        pen.take(1_003, 903),
        [Thing::Appended],
        "another thing that is due"
    );
}

#[test]
fn the_plan_names_the_time_of_what_is_due_next_by_each_clock() {
    let mut pen = Pen::accepted();
    let plan = |pen: &mut Pen, wall_us| {
        let plan = pen.row().plan(wall_us, &RULES);
        (plan.wall_us, plan.own_us)
    };
    assert_eq!(plan(&mut pen, 100), (Some(1_002), Some(102)));
    pen.claim();
    assert_eq!(plan(&mut pen, 100), (Some(1_002), Some(150)));
    assert_eq!(plan(&mut pen, 1_002), (Some(5_100), Some(102)));
    pen.write(Kind::Driver, vec![Event::Released { at_us: 1 }], Some(500));
    assert_eq!(plan(&mut pen, 100), (Some(500), None));
    pen.take(500, 600);
    assert_eq!(plan(&mut pen, 500), (Some(1_002), Some(630)));
    // A wall that went back: what was said is said again at its interval, by its time.
    assert_eq!(plan(&mut pen, 400), (Some(500), None));
    let ended = Event::Ended {
        outcome: Outcome::Cancelled,
        trouble: Vec::new(),
        owed: Vec::new(),
        at_us: 1,
    };
    let events = vec![
        ended,
        Event::Closing { at_us: 1 },
        Event::Settled { at_us: 1 },
    ];
    pen.write(Kind::Driver, events, None);
    assert_eq!(plan(&mut pen, 1_000_000), (None, None));
}

#[test]
fn own_times_of_an_earlier_process_whose_clock_was_ahead_do_not_put_anything_off() {
    let mut pen = Pen::accepted();
    pen.row().counted_us = u64::MAX;
    pen.row().said_us = [u64::MAX; THINGS];
    assert_eq!(pen.take(0, 200), []);
    assert_eq!(pen.take(0, 230), [Thing::Accepted]);
}

#[test]
fn the_intervals_are_those_of_the_options() {
    let s = Duration::from_secs;
    let rules = Rules::new(s(2), s(30), s(31), Duration::MAX);
    assert_eq!(
        (rules.horizon_us(), rules.max_age_us),
        (31_000_000, u64::MAX)
    );
}

proptest! {
    /// Whatever is written, nothing panics, and what is due leaves nothing due behind.
    #[test]
    fn what_was_taken_is_not_due_again_at_once(
        steps in prop::collection::vec((0..6_u8, any::<u64>(), 0..3_u64), 0..30),
        wall_us: u64, own_us: u64,
    ) {
        let mut pen = Pen::accepted();
        for (step, at_us, back) in steps {
            pen.epoch = pen.epoch.saturating_sub(back / 2);
            match step {
                0 => { pen.claim(); },
                1 => { pen.write(Kind::Driver, vec![Event::Released { at_us }], Some(at_us)); }
                2 => { pen.write(Kind::External, signal(), None); }
                3 => { pen.write(Kind::Driver, vec![Event::Closing { at_us }], None); }
                4 => { pen.write(Kind::Driver, vec![Event::Settled { at_us }], None); }
                _ => { pen.write(Kind::Driver, vec![Event::Ended {
                    outcome: Outcome::TimedOut, trouble: Vec::new(), owed: Vec::new(), at_us,
                }], None); }
            }
        }
        let own_us = own_us.clamp(1_000, u64::MAX / 2);
        let first = pen.take(wall_us, own_us);
        prop_assert_eq!(pen.take(wall_us, own_us), Vec::new(), "after {:?}", first);
        let plan = pen.row().plan(wall_us, &RULES);
        prop_assert!(plan.own_us.is_none_or(|at| at > own_us), "{:?} {:?}", plan, own_us);
        prop_assert!(plan.wall_us.is_none_or(|at| at > wall_us), "{:?}", plan);
    }
}
