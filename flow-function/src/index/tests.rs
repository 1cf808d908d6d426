use super::*;

fn request(number: u128) -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(number))
}

fn summary(accepted_us: u64) -> Summary {
    Summary {
        flow: "f".parse().unwrap(),
        version: "v".to_owned(),
        accepted_us,
        state: Standing::Running,
        generation: 0,
        parent: None,
        ended: None,
        kept_until_us: None,
    }
}

fn ids(index: &Index, filter: &Filter) -> Vec<RequestId> {
    let found = index.list(filter);
    found.into_iter().map(|(id, _)| id).collect()
}

fn page(limit: usize) -> Filter {
    Filter {
        limit,
        ..Filter::default()
    }
}

#[test]
fn the_oldest_settled_requests_go_past_either_bound_and_open_ones_stay() {
    let index = Index::new(2, 100);
    for number in 1..=4 {
        index.insert(request(number), summary(number as u64));
    }
    for number in 2..=4 {
        index.end(request(number), &Outcome::Cancelled, 1);
        index.settle(request(number), 10);
    }
    assert_eq!(index.take_excess(), HashSet::from([request(2)]));
    index.insert(request(5), summary(5));
    index.settle(request(5), 95);
    assert_eq!(index.take_excess(), HashSet::from([request(3), request(4)]));
    assert_eq!(ids(&index, &page(10)), [request(5), request(1)]);
}

#[test]
fn a_list_is_in_the_order_of_acceptance_whatever_the_ids_are() {
    let index = Index::new(10, 100);
    for (number, accepted_us) in [(9, 1), (3, 2), (7, 3), (1, 3)] {
        index.insert(request(number), summary(accepted_us));
    }
    let all = ids(&index, &page(10));
    assert_eq!(all, [7, 1, 3, 9].map(request));
    let mut paged = ids(&index, &page(2));
    let before = paged.last().copied();
    let rest = Filter { before, ..page(2) };
    paged.extend(ids(&index, &rest));
    assert_eq!(paged, all);
}

#[test]
fn a_page_goes_on_after_a_request_that_is_forgotten_since() {
    let index = Index::new(10, 100);
    let of_ms = |ms: u64| {
        let at = uuid::Timestamp::from_unix_time(ms / 1_000, (ms % 1_000) as u32 * 1_000_000, 0, 0);
        RequestId::from_uuid(Uuid::new_v7(at))
    };
    for ms in 10..15_u64 {
        index.insert(of_ms(ms), summary(ms * 1_000 + 500));
    }
    let before = Some(of_ms(12));
    let found = index.list(&Filter { before, ..page(9) });
    let found: Vec<_> = found.iter().map(|(_, s)| s.accepted_us).collect();
    assert_eq!(found, [12_500, 11_500, 10_500]);
    assert!(index.can_follow(of_ms(12)));
    assert!(
        !index.can_follow(request(77)),
        "an id without a time that nobody knows has no place"
    );
}

#[test]
fn filters_are_by_flow_by_every_status_and_by_parent() {
    let index = Index::new(10, 100);
    let standings = [
        Standing::Running,
        Standing::Sleeping,
        Standing::Paused,
        Standing::Unwinding,
    ];
    for (number, standing) in standings.into_iter().enumerate() {
        let id = request(number as u128);
        index.insert(id, summary(number as u64));
        index.stand(id, standing);
    }
    let child = Summary {
        parent: Some(request(1)),
        ..summary(9)
    };
    index.insert(request(9), child);
    index.end(request(9), &Outcome::TimedOut, 10);
    let by = |status: &str| Filter {
        status: Some(status.to_owned()),
        ..page(10)
    };
    for (number, standing) in standings.into_iter().enumerate() {
        let found = ids(&index, &by(standing.name()));
        assert_eq!(found, [request(number as u128)], "{standing:?}");
    }
    assert_eq!(ids(&index, &by("timed_out")), [request(9)]);
    let of = |parent: u128| Filter {
        parent: Some(request(parent)),
        ..page(10)
    };
    assert_eq!(ids(&index, &of(1)), [request(9)]);
    assert!(ids(&index, &of(2)).is_empty());
    let older = Filter {
        before: Some(request(2)),
        ..of(1)
    };
    assert!(ids(&index, &older).is_empty());
    let flow = Some("g".to_owned());
    assert!(ids(&index, &Filter { flow, ..page(10) }).is_empty());
}

#[test]
fn a_restart_takes_the_end_away_and_the_next_end_counts() {
    let index = Index::new(10, 100);
    let id = request(1);
    index.insert(id, summary(1));
    index.stand(id, Standing::Unwinding);
    index.end(id, &Outcome::TimedOut, 2);
    assert_eq!(index.keep(id, 99, 5), (99, Vec::new()));
    assert!(index.reopen(id, 1));
    assert!(!index.reopen(id, 1), "it runs already");
    let again = index.get(id).unwrap();
    assert_eq!((again.status(), again.generation), ("running", 1));
    assert_eq!(again.kept_until_us, None);
    index.end(id, &Outcome::Cancelled, 3);
    assert_eq!(index.get(id).unwrap().status(), "cancelled");
}

#[test]
fn a_version_is_needed_until_its_requests_are_settled() {
    let index = Index::new(10, 100);
    let (id, flow) = (request(1), "f".parse().unwrap());
    index.insert(id, summary(1));
    index.end(id, &Outcome::TimedOut, 2);
    assert!(index.uses(&flow, "v"), "it may be restarted");
    assert!(!index.uses(&flow, "w"));
    index.settle(id, 1);
    assert!(!index.uses(&flow, "v"));
}

#[test]
fn past_their_bound_the_oldest_kept_requests_are_let_go_and_no_time_is_prolonged() {
    let index = Index::new(10, 100);
    for number in 1..=3 {
        index.insert(request(number), summary(number as u64));
        index.end(request(number), &Outcome::TimedOut, 5);
    }
    assert_eq!(index.keep(request(1), 10, 2), (10, Vec::new()));
    assert_eq!(index.keep(request(1), 50, 2), (10, Vec::new()));
    assert_eq!(index.keep(request(2), 20, 2), (20, Vec::new()));
    assert_eq!(index.keep(request(3), 30, 2), (30, vec![request(1)]));
    assert_eq!(
        index.keep(request(1), 60, 2),
        (0, Vec::new()),
        "it was let go"
    );
    index.settle(request(2), 1);
    assert!(index.reopen(request(3), 1));
    assert!(index.state().kept.is_empty());
    index.end(request(3), &Outcome::TimedOut, 6);
    assert_eq!(
        index.keep(request(3), 40, 0),
        (0, Vec::new()),
        "none is kept"
    );
}
