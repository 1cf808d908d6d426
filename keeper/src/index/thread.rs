//! Who works on the index: a thread of its own, or, where time is simulated, whoever asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::{Index, IndexError, Told};
use crate::clock::Clock;
use crate::options::IndexPlace;
use crate::row::Rules;
use turlough_sdk::TenantId;

/// Jobs that wait for the thread: one of each task that has some, and of callers who list.
const JOBS_MAX: usize = 256;

type Job = Box<dyn FnOnce(&mut Index) + Send>;

/// A handle to the index. It closes with the last one, after what changed is stored.
#[derive(Debug, Clone)]
pub(crate) struct Indexed {
    worker: Worker,
    pub(crate) told: Told,
}

#[derive(Debug, Clone)]
enum Worker {
    Thread(mpsc::Sender<Job>),
    Inline(Arc<Mutex<Index>>),
}

impl Indexed {
    /// Opens the index.
    pub(crate) async fn open(
        place: IndexPlace,
        tenant: TenantId,
        clock: Clock,
        rules: Rules,
    ) -> Result<Self, IndexError> {
        let told = Told::default();
        if place == IndexPlace::Inline {
            let index = Index::open(&place, &tenant, &clock, rules, told.clone())?;
            let worker = Worker::Inline(Arc::new(Mutex::new(index)));
            return Ok(Self { worker, told });
        }
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        let (opened, is_open) = oneshot::channel();
        let telling = told.clone();
        let run = move || match Index::open(&place, &tenant, &clock, rules, telling) {
            Err(error) => drop(opened.send(Err(error))),
            Ok(mut index) => {
                drop(opened.send(Ok(())));
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut index);
                }
                if let Err(error) = index.flush() {
                    tracing::warn!(%error, "index was not stored at its end; it is read from the logs");
                }
            }
        };
        let spawned = thread::Builder::new()
            .name("keeper-index".to_owned())
            .spawn(run);
        if spawned.is_err() {
            return Err(IndexError::Closed);
        }
        is_open.await.map_err(|_| IndexError::Closed)??;
        let worker = Worker::Thread(jobs);
        Ok(Self { worker, told })
    }

    /// Does something with the index, where it is worked on.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let jobs = match &self.worker {
            Worker::Thread(jobs) => jobs,
            Worker::Inline(index) => {
                return job(&mut index.lock().unwrap_or_else(PoisonError::into_inner));
            }
        };
        let (answer, answered) = oneshot::channel();
        let job = move |index: &mut Index| {
            // Who does not wait any more needs no answer.
            drop(answer.send(job(index)));
        };
        let sent = jobs.send(Box::new(job)).await;
        sent.map_err(|_| IndexError::Closed)?;
        answered.await.map_err(|_| IndexError::Closed)?
    }
}
