//! Logs.

use std::collections::HashMap;
use std::time::Duration;

use turlough_sdk::RequestId;
use turlough_statestore::{Follow, Followed, Options, Seq, State, StateError};

use crate::server::{Server, append, large, options, request, until};

async fn ids(state: &State, request: RequestId, after: Seq) -> Vec<u128> {
    let records = state.log.read(request, after).await.unwrap();
    records.iter().map(|r| r.append.envelope.id.0).collect()
}

/// Appends `count` appends, numbered from `first`.
async fn fill(state: &State, request: RequestId, first: u128, count: u128) -> Seq {
    let mut last = state
        .log
        .last(request)
        .await
        .unwrap()
        .map_or(Seq::START, |r| r.seq);
    for id in first..first + count {
        last = state.log.append(request, last, &append(id)).await.unwrap();
    }
    last
}

/// What a follower meets, up to a place.
async fn followed_to(follow: &mut Box<dyn Follow>, last: Seq) -> Vec<Followed> {
    let mut all = Vec::new();
    while all.last().is_none_or(|met: &Followed| met.seq < last) {
        let next = tokio::time::timeout(Duration::from_secs(30), follow.next(7)).await;
        let next = next
            .expect("a follower hears of an append within 30 s")
            .unwrap();
        assert!(next.len() <= 7);
        all.extend(next);
    }
    all
}

pub(crate) async fn reads_back_what_was_appended_after_a_place(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    let (one, two) = (request(), request());
    let first = state
        .log
        .append(one, Seq::START, &append(10))
        .await
        .unwrap();
    state
        .log
        .append(two, Seq::START, &append(11))
        .await
        .unwrap();
    let second = state.log.append(one, first, &append(12)).await.unwrap();
    assert_eq!(ids(&other, one, Seq::START).await, [10, 12]);
    assert_eq!(ids(&other, one, first).await, [12]);
    assert_eq!(ids(&other, one, second).await, [0_u128; 0]);
    let last = other.log.last(one).await.unwrap().unwrap();
    assert_eq!((last.seq, last.append), (second, append(12)));
    assert_eq!(other.log.last(request()).await.unwrap(), None);
    assert!(
        other
            .log
            .read(request(), Seq::START)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn of_many_appenders_at_one_sequence_exactly_one_wins(server: impl Server) {
    let state = server.open().await;
    let one = request();
    let mut last = Seq::START;
    for round in 0..8_u128 {
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..16_u128 {
            let state = server.open().await;
            racers.spawn(async move {
                let stored = state
                    .log
                    .append(one, last, &append(round * 100 + racer))
                    .await;
                (round * 100 + racer, stored)
            });
        }
        let mut won = Vec::new();
        while let Some(raced) = racers.join_next().await {
            match raced.unwrap() {
                (id, Ok(seq)) => won.push((id, seq)),
                (
                    _,
                    Err(StateError::Conflict {
                        request,
                        expected,
                        last: found,
                    }),
                ) => {
                    assert_eq!((request, expected), (one, last));
                    assert!(found > last, "{found} is not after {last}");
                }
                (_, Err(error)) => panic!("{error}"),
            }
        }
        let [(id, seq)] = won[..] else {
            panic!("{} won: {won:?}", won.len())
        };
        assert_eq!(ids(&state, one, last).await, [id]);
        last = seq;
    }
}

pub(crate) async fn an_append_at_another_place_conflicts_and_leaves_nothing(server: impl Server) {
    let state = server.open().await;
    let (one, two) = (request(), request());
    let first = fill(&state, one, 1, 1).await;
    let second = fill(&state, one, 2, 1).await;
    let elsewhere = fill(&state, two, 3, 1).await;
    for (wrong, found) in [(Seq::START, second), (first, second), (elsewhere, second)] {
        match state.log.append(one, wrong, &append(9)).await.unwrap_err() {
            StateError::Conflict {
                request,
                expected,
                last,
            } => {
                assert_eq!((request, expected, last), (one, wrong, found));
            }
            error => panic!("{error}"),
        }
    }
    let new = request();
    match state.log.append(new, first, &append(9)).await.unwrap_err() {
        StateError::Conflict { last, .. } => assert_eq!(last, Seq::START),
        error => panic!("{error}"),
    }
    assert_eq!(ids(&state, one, Seq::START).await, [1, 2]);
    assert!(state.log.last(new).await.unwrap().is_none());
}

pub(crate) async fn an_append_over_the_limit_is_refused_and_leaves_nothing(server: impl Server) {
    let state = server.open().await;
    let one = request();
    let error = state
        .log
        .append(one, Seq::START, &large(1, 600 * 1024))
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    assert!(state.log.last(one).await.unwrap().is_none());
}

pub(crate) async fn an_append_of_nearly_the_limit_is_stored(server: impl Server) {
    let state = server.open().await;
    let one = request();
    let append = large(1, 500 * 1024);
    state.log.append(one, Seq::START, &append).await.unwrap();
    assert_eq!(state.log.last(one).await.unwrap().unwrap().append, append);
}

pub(crate) async fn sequences_grow_over_all_logs(server: impl Server) {
    let (state, other) = (server.open().await, server.open().await);
    let (one, two) = (request(), request());
    let (mut last, mut of_one, mut of_two) = (Seq::START, Seq::START, Seq::START);
    for id in 0..10 {
        of_one = state.log.append(one, of_one, &append(id)).await.unwrap();
        of_two = other.log.append(two, of_two, &append(id)).await.unwrap();
        assert!(last < of_one && of_one < of_two);
        last = of_two;
    }
}

pub(crate) async fn a_follower_meets_every_append_once_in_order(server: impl Server) {
    let state = server.open().await;
    let requests: Vec<_> = (0..5).map(|_| request()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    let before = fill(&state, requests[0], 1, 10).await;
    let mut all = state.log.follow(Seq::START).await.unwrap();
    let mut later = server.open().await.log.follow(before).await.unwrap();
    for (number, one) in requests.iter().copied().enumerate() {
        let state = server.open().await;
        tasks.spawn(async move { fill(&state, one, 100 * number as u128 + 11, 40).await });
    }
    let mut last = Seq::START;
    while let Some(filled) = tasks.join_next().await {
        last = last.max(filled.unwrap());
    }
    let met = followed_to(&mut all, last).await;
    assert_eq!(met.len(), 210);
    assert!(met.is_sorted_by(|a, b| a.seq < b.seq));
    let mut of: HashMap<RequestId, Vec<u128>> = HashMap::new();
    for met in &met {
        let id = met.append.as_ref().unwrap().envelope.id.0;
        of.entry(met.request.unwrap()).or_default().push(id);
    }
    for one in requests {
        assert_eq!(of[&one], ids(&state, one, Seq::START).await);
    }
    assert_eq!(followed_to(&mut later, last).await, met[10..]);
}

pub(crate) async fn a_follower_that_is_dropped_while_it_waits_misses_nothing(server: impl Server) {
    let state = server.open().await;
    let one = request();
    let mut follow = state.log.follow(Seq::START).await.unwrap();
    let mut last = Seq::START;
    let mut met = Vec::new();
    for id in 0..50_u128 {
        last = state.log.append(one, last, &append(id)).await.unwrap();
        // Some of these come while it waits, some are given up.
        if let Ok(next) = tokio::time::timeout(Duration::from_micros(300), follow.next(3)).await {
            met.extend(next.unwrap());
        }
    }
    while met.len() < 50 {
        met.extend(followed_to(&mut follow, last).await);
    }
    let ids: Vec<_> = met
        .iter()
        .map(|met| met.append.as_ref().unwrap().envelope.id.0)
        .collect();
    assert_eq!(ids, (0..50).collect::<Vec<_>>());
}

pub(crate) async fn a_place_tells_what_stands_there(server: impl Server) {
    let state = server.open().await;
    let one = request();
    let first = fill(&state, one, 1, 1).await;
    let second = fill(&state, one, 2, 1).await;
    for (seq, id) in [(first, 1), (second, 2)] {
        let at = state.log.at(seq).await.unwrap().unwrap();
        assert_eq!((at.request, at.seq), (Some(one), seq));
        assert_eq!(at.append.unwrap().envelope.id.0, id);
    }
    assert_eq!(
        state.log.at(Seq::new(second.get() + 1_000)).await.unwrap(),
        None
    );
}

pub(crate) async fn a_deleted_log_is_gone_and_others_stay(server: impl Server) {
    let state = server.open().await;
    let (one, two) = (request(), request());
    let first = fill(&state, one, 1, 3).await;
    fill(&state, two, 4, 2).await;
    state.log.delete(one).await.unwrap();
    state.log.delete(request()).await.unwrap();
    assert!(state.log.read(one, Seq::START).await.unwrap().is_empty());
    assert!(state.log.last(one).await.unwrap().is_none());
    assert_eq!(state.log.at(first).await.unwrap(), None);
    assert_eq!(ids(&state, two, Seq::START).await, [4, 5]);
    // It may begin anew, after all that was there.
    let anew = state.log.append(one, Seq::START, &append(6)).await.unwrap();
    assert!(anew > first);
    assert_eq!(ids(&state, one, Seq::START).await, [6]);
}

pub(crate) async fn what_was_appended_counts_as_held(server: impl Server) {
    let state = server.open().await;
    let before = state.log.usage().await.unwrap();
    let mut last = Seq::START;
    let one = request();
    for id in 0..4 {
        last = state
            .log
            .append(one, last, &large(id, 250_000))
            .await
            .unwrap();
    }
    let held = |bytes: u64| bytes >= before.bytes + 1_000_000;
    let after = until("the usage shows what was appended", async || {
        let usage = state.log.usage().await.unwrap();
        held(usage.bytes).then_some(usage)
    });
    let after = after.await;
    assert_eq!(after.bytes_max, options().bytes_max);
    assert!(after.bytes < before.bytes + 2_000_000, "{after:?}");
}

pub(crate) async fn a_full_log_refuses_by_name_and_keeps_what_it_has<S: Server>(server: S) {
    drop(server);
    let server = S::start_with(Options {
        bytes_max: 2 << 20,
        ..options()
    })
    .await;
    let state = server.open().await;
    let one = request();
    let mut last = Seq::START;
    let mut stored = Vec::new();
    let error = loop {
        let id = stored.len() as u128;
        match state.log.append(one, last, &large(id, 200_000)).await {
            Ok(seq) => (last, _) = (seq, stored.push(id)),
            Err(error) => break error,
        }
        assert!(stored.len() < 20, "a log of 2 MiB takes 4 MB");
    };
    assert!(matches!(error, StateError::Full { .. }), "{error}");
    assert!(error.passes());
    assert!(
        error.to_string().contains("TURLOUGH_STATE_BYTES_MAX"),
        "{error}"
    );
    assert_eq!(ids(&state, one, Seq::START).await, stored);
    assert!(state.log.usage().await.unwrap().is_nearly_full());
}

pub(crate) async fn appends_survive_a_crash(mut server: impl Server) {
    let state = server.open().await;
    let requests: Vec<_> = (0..20).map(|_| request()).collect();
    let mut lasts = HashMap::new();
    for one in &requests {
        lasts.insert(*one, fill(&state, *one, 1, 5).await);
    }
    if !server.crash().await {
        return;
    }
    let state = server.open().await;
    for one in &requests {
        assert_eq!(ids(&state, *one, Seq::START).await, [1, 2, 3, 4, 5]);
        let next = state
            .log
            .append(*one, lasts[one], &append(6))
            .await
            .unwrap();
        assert!(next > lasts[one]);
    }
    let mut follow = state.log.follow(Seq::START).await.unwrap();
    let last = state.log.last(requests[19]).await.unwrap().unwrap().seq;
    assert_eq!(followed_to(&mut follow, last).await.len(), 120);
}

pub(crate) async fn a_follower_notices_a_crash(mut server: impl Server) {
    let state = server.open().await;
    let one = request();
    let last = fill(&state, one, 1, 3).await;
    let mut follow = state.log.follow(Seq::START).await.unwrap();
    assert_eq!(followed_to(&mut follow, last).await.len(), 3);
    if !server.crash().await {
        return;
    }
    let next = tokio::time::timeout(Duration::from_secs(60), follow.next(10)).await;
    let error = next
        .expect("a follower notices within a minute")
        .unwrap_err();
    assert!(error.passes(), "{error}");
}

pub(crate) async fn a_lost_tail_is_gone_and_appends_go_on_from_what_is_left(
    mut server: impl Server,
) {
    let state = server.open().await;
    let (one, two) = (request(), request());
    let kept = fill(&state, one, 1, 3).await;
    server.mark().await;
    fill(&state, one, 4, 3).await;
    let lost = fill(&state, two, 7, 2).await;
    server.lose().await;
    let state = server.open().await;
    assert_eq!(ids(&state, one, Seq::START).await, [1, 2, 3]);
    assert!(state.log.last(two).await.unwrap().is_none());
    assert_eq!(state.log.last(one).await.unwrap().unwrap().seq, kept);
    assert_eq!(state.log.at(lost).await.unwrap(), None);
    assert!(matches!(
        state.log.append(two, lost, &append(10)).await,
        Err(StateError::Conflict {
            last: Seq::START,
            ..
        })
    ));
    // The places are given again.
    let next = state.log.append(one, kept, &append(20)).await.unwrap();
    assert!(next > kept && next <= lost);
    assert_eq!(ids(&state, one, Seq::START).await, [1, 2, 3, 20]);
}

pub(crate) async fn an_expired_head_leaves_the_rest<S: Server>(server: S) {
    drop(server);
    let max_age = Duration::from_secs(3);
    let mut server = S::start_with(Options {
        max_age,
        ..options()
    })
    .await;
    let state = server.open().await;
    let (one, two) = (request(), request());
    fill(&state, two, 1, 2).await;
    let gone = fill(&state, one, 3, 2).await;
    // What comes now is that much younger.
    tokio::time::sleep(max_age / 2).await;
    let rest = fill(&state, one, 5, 2).await;
    server.expire(gone).await;
    assert_eq!(ids(&state, one, Seq::START).await, [5, 6]);
    assert!(state.log.last(two).await.unwrap().is_none());
    assert_eq!(state.log.at(gone).await.unwrap(), None);
    // Whoever follows from the start, or from what is gone, meets what is left.
    for from in [Seq::START, Seq::new(1)] {
        let mut follow = state.log.follow(from).await.unwrap();
        assert_eq!(followed_to(&mut follow, rest).await.len(), 2);
    }
    let next = state.log.append(one, rest, &append(7)).await.unwrap();
    assert!(next > rest);
}
