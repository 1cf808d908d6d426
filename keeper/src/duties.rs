//! What the active keeper does: hints and words for what is due, verdicts on claimants that are gone.
//!
//! Invariants: all of it may be done twice, by two keepers, or in vain; nothing that is due waits for
//! anything but its time.

mod ask;
mod dead;

pub(crate) use ask::{Questions, hear};
pub(crate) use dead::judge;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};
use turlough_sdk::{FunctionName, ReplicaId, RequestId};
use turlough_statestore::{Channel, Hint, StateError, Why, Word};

use crate::follower::{chain, read_anew};
use crate::index::Condemned;
use crate::keeper::Shared;
use crate::row::{Thing, Work};

/// Requests that are looked at in one round, and the pause after a round that was full: it bounds what
/// a clock that jumps makes due at once to 10,000 hints a second.
const ROUND_MAX: usize = 500;
const PAUSE: Duration = Duration::from_millis(50);
/// A wall clock that jumps is noticed within this time.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Between two rounds at least.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// Hints that are sent at once.
const SENDS_MAX: usize = 64;
/// A queue this deep holds more than anybody has room for: what was said before is still in it.
const DEPTH_MAX: u64 = 10_000;
/// What was said this often without an append is compared with its log.
const SAID_IN_VAIN: u32 = 4;

/// Does what is due, while this keeper is the active one.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut plan = shared.index.told.plan.subscribe();
    let mut active = shared.is_active.subscribe();
    let mut caught_up = shared.is_caught_up.subscribe();
    loop {
        let works = *active.borrow_and_update() && *caught_up.borrow_and_update();
        let next = if works { next_look(&shared) } else { LOOK_MAX };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = sleep_until(Instant::now() + next) => {}
            _ = plan.changed() => {
                sleep(LOOK_MIN).await;
                continue;
            }
            _ = active.changed() => continue,
            _ = caught_up.changed() => continue,
        }
        if !works {
            continue;
        }
        match shared.index.call(|index| index.take_due(ROUND_MAX)).await {
            Ok(work) => {
                let is_full = work.len() >= ROUND_MAX;
                perform(&shared, work).await;
                if is_full {
                    sleep(PAUSE).await;
                }
            }
            Err(error) => {
                warn!(error = %chain(&error), "what is due cannot be read");
                sleep(LOOK_MAX).await;
            }
        }
    }
}

fn next_look(shared: &Shared) -> Duration {
    let (plan, now) = (*shared.index.told.plan.borrow(), shared.options.clock.now());
    let until = |at_us: Option<u64>, now_us: u64| {
        at_us.map(|at_us| Duration::from_micros(at_us.saturating_sub(now_us)))
    };
    let times = [
        until(plan.wall_us, now.wall_us),
        until(plan.own_us, now.own_us),
    ];
    let next = times.into_iter().flatten().min().unwrap_or(LOOK_MAX);
    next.clamp(LOOK_MIN, LOOK_MAX)
}

/// What a thing that is due comes to.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    Hint(Why),
    Poke(ReplicaId),
    Urge(ReplicaId),
    /// Whoever holds it was not seen alive yet, or is being judged.
    Nothing,
}

async fn perform(shared: &Arc<Shared>, work: Vec<Work>) {
    let (mut hints, mut later) = (Vec::new(), Vec::new());
    let mut questions: HashMap<ReplicaId, Vec<Work>> = HashMap::new();
    for work in work {
        if work.said > 0 && work.said % SAID_IN_VAIN == 0 && work.thing != Thing::Ask {
            look_closer(shared, work.request, work.last_seq);
        }
        if work.thing == Thing::Ask {
            if let Some(claim) = work.claim {
                questions
                    .entry(claim.claimant.replica)
                    .or_default()
                    .push(work);
            }
            continue;
        }
        match say(shared, &work) {
            Say::Hint(why) => hints.push((work, why)),
            Say::Poke(replica) => {
                let word = Word::Poke {
                    request: work.request,
                };
                send(shared, replica, &word, "poke").await;
            }
            Say::Urge(replica) => {
                let word = Word::Urge {
                    request: work.request,
                };
                send(shared, replica, &word, "urge").await;
                if work.said > 1 {
                    // The word was lost, or nobody heeded it.
                    hints.push((work, Why::Due));
                }
            }
            Say::Nothing => later.push((work.request, work.thing)),
        }
    }
    say_later(shared, later).await;
    ask::all(shared, questions).await;
    enqueue(shared, hints).await;
}

/// What was not said is due again after the grace.
async fn say_later(shared: &Shared, what: Vec<(RequestId, Thing)>) {
    if what.is_empty() {
        return;
    }
    let later = move |index: &mut crate::index::Index| index.say_again(&what);
    if let Err(error) = shared.index.call(later).await {
        warn!(error = %chain(&error), "what was not said waits for its repetition");
    }
}

fn say(shared: &Shared, work: &Work) -> Say {
    let replicas = &shared.replicas;
    let any = || replicas.one_of(&work.function, work.request.as_uuid().as_u128() as u64);
    let why = match work.thing {
        Thing::LetGo => Why::LetGo,
        Thing::Due | Thing::Deadline => Why::Due,
        Thing::Appended => Why::Appended,
        Thing::Accepted => Why::Accepted,
        Thing::HandedOver => Why::HandedOver,
        Thing::Snapshot | Thing::Ask => Why::Snapshot,
    };
    let holder = work.claim.map(|claim| claim.claimant.replica);
    match (work.thing, holder) {
        (Thing::Deadline, Some(holder)) if replicas.is_alive(holder) => Say::Urge(holder),
        (Thing::Deadline, _) => any().map_or(Say::Hint(why), Say::Urge),
        (_, None) => Say::Hint(why),
        (_, Some(holder)) if replicas.is_alive(holder) => Say::Poke(holder),
        (_, Some(_)) => Say::Nothing,
    }
}

async fn send(shared: &Shared, replica: ReplicaId, word: &Word, kind: &str) {
    shared.metrics.word(kind);
    let sent = shared
        .state
        .bus
        .send(Channel::Replica(replica), word.encode())
        .await;
    if let Err(error) = sent {
        debug!(%error, "word was not sent; it is said again");
    }
}

/// A request of which much was said in vain is compared with its log.
fn look_closer(shared: &Arc<Shared>, request: RequestId, last_seq: u64) {
    let looking = Arc::clone(shared);
    shared.tasks.spawn(async move {
        if let Err(error) = read_anew(&looking, request, last_seq).await {
            warn!(%request, error = %chain(&error), "log cannot be read");
        }
    });
}

async fn enqueue(shared: &Arc<Shared>, hints: Vec<(Work, Why)>) {
    let mut is_deep: HashMap<FunctionName, bool> = HashMap::new();
    let mut ready = Vec::new();
    for (work, why) in hints {
        if !is_deep.contains_key(&work.function) {
            let depth = shared.state.queue.depth(work.function.as_str()).await;
            is_deep.insert(
                work.function.clone(),
                depth.is_ok_and(|depth| depth > DEPTH_MAX),
            );
            wake(shared, &work.function);
        }
        if work.said < 2 || is_deep.get(&work.function) == Some(&false) {
            ready.push((work, why));
        }
    }
    let (failed, errors): (Vec<_>, Vec<_>) = stream::iter(ready)
        .map(|(work, why)| async move {
            let hint = Hint {
                request: work.request,
                why,
                condemned: None,
            };
            let said = hint_to(shared, &work.function, &hint).await;
            said.err().map(|error| ((work.request, work.thing), error))
        })
        .buffer_unordered(SENDS_MAX)
        .filter_map(std::future::ready)
        .unzip()
        .await;
    let Some(error) = errors.first() else {
        return;
    };
    warn!(
        hints = failed.len(),
        %error,
        "work queue took no hints; they are sent again"
    );
    say_later(shared, failed).await;
}

async fn hint_to(shared: &Shared, function: &FunctionName, hint: &Hint) -> Result<(), StateError> {
    let sent = shared
        .state
        .queue
        .enqueue(function.as_str(), hint.encode())
        .await;
    match &sent {
        Ok(()) => shared.metrics.hint(hint.why),
        Err(error) => debug!(%error, request = %hint.request, "hint was not taken"),
    }
    shared.note_hint(sent.as_ref().err());
    sent
}

/// Claims of the dead: whoever has room may take them over.
async fn condemn(shared: &Arc<Shared>, condemned: Vec<Condemned>) {
    if let Some(first) = condemned.first() {
        wake(shared, &first.function);
    }
    stream::iter(condemned)
        .for_each_concurrent(SENDS_MAX, |condemned| async move {
            let hint = Hint {
                request: condemned.request,
                why: Why::ClaimantGone,
                condemned: Some(condemned.claim),
            };
            // One that is not taken is said again after the interval.
            let _ = hint_to(shared, &condemned.function, &hint).await;
        })
        .await;
}

/// A function without a replica is started.
fn wake(shared: &Arc<Shared>, function: &FunctionName) {
    let Some(gateway) = &shared.gateway else {
        return;
    };
    if shared.replicas.any_of(function) || !gateway.is_time(function) {
        return;
    }
    let (waking, function) = (Arc::clone(gateway), function.clone());
    let stop = shared.stop.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = waking.wake(&function) => {}
            () = stop.cancelled() => {}
        }
    });
}
