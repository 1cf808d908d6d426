//! Query plans, and an index that was followed against one that was rebuilt.

use std::time::Duration;

use proptest::prelude::*;
use turlough_sdk::ReplicaId;
use turlough_statestore::event::{Accepted, Outcome};
use turlough_statestore::{Append, Envelope, Event, Kind, Standing};
use uuid::Uuid;

use super::*;
use crate::summary::{Filter, Status};

fn open(place: &IndexPlace) -> Index {
    let s = Duration::from_secs;
    let rules = Rules::new(s(2), s(30), s(30), s(1_000_000));
    let tenant = "acme".parse().unwrap();
    Index::open(place, &tenant, &Clock::by_hand(), rules, Told::default()).unwrap()
}

#[test]
fn no_list_and_no_duty_scans_the_table() {
    let index = open(&IndexPlace::Memory);
    let queries = [
        lists::OF_ALL,
        lists::OF_CLASS,
        lists::OF_PARENT,
        lists::RANK,
        duties::BY_WALL,
        duties::BY_OWN,
        duties::FIRST_WALL,
        duties::FIRST_OWN,
        duties::NEXT_HOLDER,
        duties::HELD_BY,
        duties::OLDEST_KEPT,
        duties::OLDEST_SETTLED,
        duties::EXPIRED,
        duties::DOOMED,
    ];
    for sql in queries {
        let mut statement = index
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let count = statement.parameter_count();
        for place in 1..=count {
            statement.raw_bind_parameter(place, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>(3).unwrap());
        }
        for step in &plan {
            // What has no lower bound begins at the end of an index that holds nothing else.
            let is_sought = step.starts_with("SEARCH ")
                || (step.starts_with("SCAN ") && step.contains(" INDEX by_"));
            assert!(
                is_sought && !step.contains("TEMP B-TREE"),
                "{sql}: {plan:?}"
            );
        }
    }
}

fn envelope(id: u128, kind: Kind, epoch: u64) -> Envelope {
    Envelope {
        id: AppendId(id),
        after: None,
        kind,
        epoch,
        replica: ReplicaId::from_uuid(Uuid::from_u128(u128::from(epoch))),
        function: "flows".parse().unwrap(),
        generation: 0,
        deadline_us: Some(77),
        wake_at_us: None,
        standing: Standing::Running,
    }
}

fn accepted() -> Event {
    Event::Accepted(Accepted {
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
    })
}

fn events(what: u8, epoch: u64, at_us: u64) -> Vec<Event> {
    let outcome = Outcome::TimedOut;
    let ended = Event::Ended {
        outcome,
        trouble: Vec::new(),
        owed: Vec::new(),
        at_us,
    };
    let replica = ReplicaId::from_uuid(Uuid::from_u128(u128::from(epoch)));
    match what {
        0 | 1 => vec![Event::Claimed {
            replica,
            epoch,
            at_us,
        }],
        2 => vec![Event::Released { at_us }],
        3 => vec![ended, Event::Released { at_us }],
        4 => vec![Event::Closing { at_us }, Event::Settled { at_us }],
        5 => vec![Event::PauseAsked { at_us }],
        6 => vec![Event::RestartAsked {
            from: None,
            version: Some("v2".to_owned()),
            deadline_us: 5,
            at_us,
        }],
        _ => vec![Event::Ticked { at_us }],
    }
}

type Step = (u8, u8, u8, u16);

/// Logs of several requests, in the order of their appends; some name what they should, others not.
fn logs(steps: &[Step]) -> Vec<Followed> {
    let mut heads: HashMap<u8, (Vec<AppendId>, u64)> = HashMap::new();
    let mut logs = Vec::new();
    for (seq, (request, what, slip, at)) in (1..).zip(steps) {
        let (ids, epoch) = heads.entry(*request).or_default();
        let id = AppendId(seq.into());
        let is_external = matches!(what, 5 | 6);
        let kind = if is_external {
            Kind::External
        } else {
            Kind::Driver
        };
        let is_claim = *what < 2;
        *epoch += u64::from(is_claim);
        let old = epoch.saturating_sub(u64::from(slip % 8 == 7));
        let back = usize::from(slip % 5 == 4);
        let after = ids.iter().rev().nth(back).copied();
        let events = match after {
            None if ids.is_empty() => vec![accepted()],
            _ => events(*what, *epoch, u64::from(*at)),
        };
        let mut envelope = envelope(seq.into(), kind, old);
        (envelope.after, envelope.wake_at_us) = (after, Some(u64::from(*at)));
        if ids.is_empty() {
            envelope.epoch = 0;
            *epoch = 0;
        }
        ids.push(id);
        let uuid = Uuid::from_u128(u128::from(*request) * 7_919);
        logs.push(Followed {
            request: Some(RequestId::from_uuid(uuid)),
            seq: Seq::new(seq),
            append: Ok(Append::new(envelope, events)),
        });
    }
    logs
}

fn rows(index: &mut Index) -> Vec<(RequestId, Row)> {
    let all = Filter {
        limit: 1_000,
        ..Filter::default()
    };
    let found = index.list(&all).unwrap().unwrap();
    let row = |index: &mut Index, id| index.row(id).unwrap().unwrap().said_by_log();
    found
        .into_iter()
        .map(|(id, _)| (id, row(index, id)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_index_that_was_followed_with_stops_is_the_one_that_is_rebuilt(
        steps in prop::collection::vec((0..6_u8, 0..8_u8, any::<u8>(), any::<u16>()), 1..120),
        batch in 1..30_usize, stop in 1..5_usize,
    ) {
        let logs = logs(&steps);
        let folder = tempfile::tempdir().unwrap();
        let place = IndexPlace::File(folder.path().join("keeper.db"));
        let mut followed = open(&place);
        for (number, batch) in logs.chunks(batch).enumerate() {
            followed.apply(batch).unwrap();
            if number % stop == 0 {
                if number % 2 == 0 {
                    followed.take_due(10).unwrap();
                }
                // Killed: what was not stored is followed again.
                drop(followed);
                followed = open(&place);
                let at = followed.position.map_or(0, |point| point.seq);
                let again = logs.iter().filter(|record| {
                    record.seq.get() > at && record.seq <= batch[batch.len() - 1].seq
                });
                let again: Vec<_> = again.cloned().collect();
                followed.apply(&again).unwrap();
            }
        }
        let mut rebuilt = open(&IndexPlace::Memory);
        rebuilt.apply(&logs).unwrap();
        prop_assert_eq!(rows(&mut followed), rows(&mut rebuilt));
        let counts = |index: &mut Index| { index.flush().unwrap(); index.classes.counts(index.kept) };
        let mut one = counts(&mut followed);
        let mut other = counts(&mut rebuilt);
        one.by_status.retain(|_, count| *count > 0);
        other.by_status.retain(|_, count| *count > 0);
        prop_assert_eq!(&one, &other);
        let mut fresh = open(&place);
        let mut stored = counts(&mut fresh);
        stored.by_status.retain(|_, count| *count > 0);
        prop_assert_eq!(one, stored, "what is counted is what is stored");
    }
}

#[test]
fn an_index_of_another_tenant_or_of_no_index_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/keeper.db");
    let place = IndexPlace::File(path.clone());
    let logs = logs(&[(1, 0, 0, 5)]);
    open(&place).apply(&logs).unwrap();
    let mut first = open(&place);
    first.apply(&logs).unwrap();
    first.flush().unwrap();
    drop(first);
    assert_eq!(rows(&mut open(&place)).len(), 1);
    let tenant = "other".parse().unwrap();
    let (clock, rules) = (Clock::by_hand(), open(&IndexPlace::Memory).rules);
    let mut other = Index::open(&place, &tenant, &clock, rules, Told::default()).unwrap();
    assert_eq!(rows(&mut other).len(), 0);
    drop(other);
    std::fs::write(
        &path,
        b"this is no index at all, and it is long enough to be looked at",
    )
    .unwrap();
    let mut anew = open(&place);
    assert_eq!((rows(&mut anew).len(), anew.position), (0, None));
}

#[test]
fn the_positions_of_the_last_minutes_are_kept_some_way_apart() {
    let index = open(&IndexPlace::Memory);
    for step in 0..20_000_u64 {
        let point = Point {
            seq: step + 1,
            id: Some(AppendId(u128::from(step))),
            own_us: step * 100_000,
        };
        points::put(&index.connection, point).unwrap();
    }
    let points = points::all(&index.connection).unwrap();
    assert!((500..=620).contains(&points.len()), "{}", points.len());
    assert_eq!(points[0].seq, 20_000);
    let apart = points[1..].windows(2).map(|p| p[0].own_us - p[1].own_us);
    assert!(apart.clone().all(|us| (1_000_000..2_000_000).contains(&us)));
    points::put(
        &index.connection,
        Point {
            seq: 15_000,
            ..points[0]
        },
    )
    .unwrap();
    let left = points::all(&index.connection).unwrap();
    assert!(left.iter().all(|point| point.seq <= 15_000));
}

#[test]
fn the_status_of_a_list_is_that_of_its_rows() {
    let mut index = open(&IndexPlace::Memory);
    index
        .apply(&logs(&[
            (1, 0, 0, 5),
            (2, 0, 0, 5),
            (1, 0, 0, 5),
            (1, 3, 0, 5),
        ]))
        .unwrap();
    let of = |index: &mut Index, status| {
        let filter = Filter {
            status: Some(status),
            limit: 10,
            ..Filter::default()
        };
        index.list(&filter).unwrap().unwrap().len()
    };
    assert_eq!(of(&mut index, Status::TimedOut), 1);
    assert_eq!(of(&mut index, Status::Running), 1);
    assert_eq!(of(&mut index, Status::Failed), 0);
    assert!(index.uses("etl", "v1").unwrap() && !index.uses("etl", "v2").unwrap());
}
