//! Questions to claimants of requests whose logs are silent: which of these do you drive?

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use turlough_sdk::{ReplicaId, RequestId};
use turlough_statestore::{ASKED_MAX, Channel, Word};

use super::{condemn, send};
use crate::follower::chain;
use crate::index::Question;
use crate::keeper::Shared;
use crate::row::Work;

/// Questions that wait for their answers; further ones are put when their time comes again.
const WAITING_MAX: usize = 64;
/// Between attempts to listen.
const BACKOFF: Duration = Duration::from_secs(1);

/// Questions that wait for their answers.
#[derive(Debug)]
pub(crate) struct Questions {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    asked: ReplicaId,
    answer: oneshot::Sender<Vec<RequestId>>,
}

impl Questions {
    /// Numbers begin at random, so that no answer to an earlier process fits.
    pub(crate) fn new() -> Self {
        Self {
            last: AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().0),
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, asked: ReplicaId) -> Option<(u64, oneshot::Receiver<Vec<RequestId>>)> {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        let question = self.last.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        waiting.insert(question, Waiting { asked, answer });
        Some((question, answered))
    }

    fn answer(&self, question: u64, by: ReplicaId, driven: Vec<RequestId>) {
        let mut waiting = self.waiting();
        if waiting
            .get(&question)
            .is_some_and(|waiting| waiting.asked == by)
            && let Some(Waiting { answer, .. }) = waiting.remove(&question)
        {
            // Who asked may have given up this moment.
            let _ = answer.send(driven);
        }
    }
}

/// Hears answers until the keeper stops.
pub(crate) async fn hear(shared: Arc<Shared>) {
    loop {
        let channel = Channel::Replica(shared.options.replica);
        let heard = async {
            let mut words = shared.state.bus.listen(channel).await?;
            while let Some(word) = words.next().await {
                if let Some(Word::Answer {
                    question,
                    replica,
                    driven,
                }) = Word::decode(&word)
                {
                    shared.questions.answer(question, replica, driven);
                }
            }
            Ok::<_, turlough_statestore::StateError>(())
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            heard = heard => {
                if let Err(error) = heard {
                    debug!(%error, "answers cannot be heard; trying again");
                }
            }
        }
        sleep(BACKOFF).await;
    }
}

/// Asks the claimants, many requests in a word; the answers are awaited beside.
pub(super) async fn all(shared: &Arc<Shared>, questions: HashMap<ReplicaId, Vec<Work>>) {
    for (replica, work) in questions {
        // Those without a heartbeat are judged by it; and nobody answers for long where the
        // connection is new.
        let is_judged = shared.replicas.is_alive(replica) && shared.may_judge();
        if !is_judged {
            continue;
        }
        for work in work.chunks(ASKED_MAX) {
            let Some((question, answered)) = shared.questions.put(replica) else {
                continue;
            };
            let word = Word::Ask {
                question,
                asker: shared.options.replica,
                requests: work.iter().map(|work| work.request).collect(),
            };
            send(shared, replica, &word, "ask").await;
            let asked = work.iter().filter_map(|work| {
                Some(Question {
                    request: work.request,
                    claim: work.claim?.append,
                    is_driven: None,
                })
            });
            let (asked, asking) = (asked.collect(), Arc::clone(shared));
            shared.tasks.spawn(async move {
                wait(&asking, question, asked, answered).await;
            });
        }
    }
}

async fn wait(
    shared: &Arc<Shared>,
    question: u64,
    mut asked: Vec<Question>,
    answered: oneshot::Receiver<Vec<RequestId>>,
) {
    let answer = tokio::select! {
        answer = timeout(shared.options.grace, answered) => answer,
        () = shared.stop.cancelled() => return,
    };
    shared.questions.waiting().remove(&question);
    if let Ok(Ok(driven)) = answer {
        let driven: std::collections::HashSet<_> = driven.into_iter().collect();
        for question in &mut asked {
            question.is_driven = Some(driven.contains(&question.request));
        }
    } else if !shared.may_judge() {
        return;
    }
    match shared.index.call(move |index| index.answered(&asked)).await {
        Ok(condemned) => condemn(shared, condemned).await,
        Err(error) => warn!(error = %chain(&error), "answer of a claimant is lost"),
    }
}
