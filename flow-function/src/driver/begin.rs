//! How a driver comes to its request: by accepting it, or by reading what another left.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use turlough_datastore::data::{Failure, PutError};
use turlough_sdk::{Flow, RequestId, Value, ValueRef};
use turlough_statestore::event::Accepted;
use turlough_statestore::{
    Append, AppendId, Envelope, Event, Kind, Record, Seq, Standing, StateError, Why,
};

use super::output::Output;
use super::pieces::parts_of;
use super::running::Running;
use super::snapshot::newest_us;
use super::{DriveError, Driver, random};
use crate::clock::{boot, now_us};
use crate::data::{RequestData, Touched, touched};
use crate::engine::parts;
use crate::fault::{Fault, planted};
use crate::machine::Execution;
use crate::runner::Context;
use crate::shared::Shared;
use crate::trace::{RequestTrace, Telling};

/// The waits between tries of an append that was not answered.
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// How long it is tried to record a request, while its caller waits: several times what servers take to
/// choose a new leader, or a connection to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// The slowest network that large inputs are kept over, in bytes a second.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// The claim of whoever accepts.
pub(super) const FIRST_EPOCH: u64 = 1;

/// A request that is to begin.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) request: RequestId,
    pub(crate) flow: Arc<Flow>,
    pub(crate) input: Value,
    /// Without the place of the input, which is not known yet.
    pub(crate) accepted: Accepted,
}

/// Why a request was not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Log(#[from] StateError),
    #[error(transparent)]
    Store(#[from] PutError),
}

impl BeginError {
    /// Another request stands under the id.
    pub(crate) const fn stands(request: RequestId) -> Self {
        let (expected, last) = (Seq::START, Seq::START);
        Self::Log(StateError::Conflict {
            request,
            expected,
            last,
        })
    }
}

/// How long it is tried: for a large input, as long as a slow network takes for it besides.
fn patience(input: &Value) -> Duration {
    let slow = input.envelope().len() as u64 / BYTES_PER_SECOND;
    PATIENCE + Duration::from_secs(slow)
}

/// A log that begins.
struct Beginning<'a> {
    shared: &'a Arc<Shared>,
    request: RequestId,
    deadline_us: u64,
    /// The connection on which it was last seen to be as it is known here.
    era: u64,
    seq: Seq,
    after: Option<AppendId>,
    appends: Vec<Append>,
    /// The epoch of its first claim: the first of all, unless a store knows of an earlier request under the
    /// same id.
    epoch: u64,
    /// Until when it is tried.
    until: Instant,
}

impl Driver {
    /// Records a request, with its claim where there is room to drive it: then its driver comes back.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        begin: Begin,
        claim: bool,
    ) -> Result<Option<Self>, BeginError> {
        let Begin {
            request,
            flow,
            input,
            accepted,
        } = begin;
        let era = shared.state.link.borrow().era;
        let mut log = Beginning {
            shared,
            request,
            deadline_us: accepted.deadline_us,
            era,
            seq: Seq::START,
            after: None,
            appends: Vec::new(),
            epoch: FIRST_EPOCH,
            until: Instant::now() + patience(&input),
        };
        let (parts, accepted) = match log.begin(&input, accepted, claim).await {
            Ok(begun) => begun,
            Err(error) => {
                if log.seq > Seq::START && !shared.state.is_shared {
                    // Parts that nothing names; where others write, they expire.
                    drop(shared.log.delete(request).await);
                }
                return Err(error);
            }
        };
        let (seq, appends) = (log.seq, log.appends);
        if !claim {
            return Ok(None);
        }
        let versions = shared.registry.versions(flow.name());
        let mut execution = Execution::new(request, flow, versions);
        for append in &appends {
            execution.fold(append);
        }
        let known = (seq, era, accepted, parts);
        let mut driver = Self::new(shared, request, execution, known, (true, 1));
        appends.iter().for_each(|append| driver.trace(append));
        Ok(Some(driver))
    }

    /// Reads what stands in a request's log, and claims it where that may be done.
    pub(crate) async fn resume(
        shared: &Arc<Shared>,
        request: RequestId,
        (why, condemned): (Why, Option<AppendId>),
    ) -> Result<Option<Self>, DriveError> {
        let era = shared.state.link.borrow().era;
        let records = shared.log.read(request, Seq::START).await?;
        let last = records.last().ok_or(DriveError::Gone)?;
        shared.learn_versions(request, &records).await?;
        let execution = shared.execution(request, &records)?;
        let asked = matches!(why, Why::LetGo | Why::Snapshot);
        let is_over = execution.is_settled() && !planted(Fault::SettledClaimed);
        if is_over || !asked && rests(&execution, last) {
            return Ok(None);
        }
        let accepted = execution.accepted().cloned().ok_or(DriveError::Gone)?;
        let touched = touched(&records);
        let known = (last.seq, era, Arc::new(accepted), parts(&records));
        let appends = (false, records.len());
        let mut driver = Self::new(shared, request, execution, known, appends);
        driver.asked = Some(why);
        driver.touched = touched;
        driver.generation = begun_generation(&records);
        driver.snapshot_us = newest_us(&records);
        driver.may_claim(condemned).await?;
        driver.trace_left(&records);
        driver.claim().await?;
        Ok(Some(driver))
    }

    fn new(
        shared: &Arc<Shared>,
        request: RequestId,
        execution: Execution,
        (seq, era, accepted, parts): (Seq, u64, Arc<Accepted>, HashMap<u128, Bytes>),
        (owned, appends): (bool, usize),
    ) -> Self {
        let flow = Arc::clone(execution.flow());
        let traces = shared.traces.as_ref();
        let telling = traces.and_then(|it| {
            let identity = it.identity(request, &accepted);
            let telling = || Telling::new(request, identity, it.does(&flow), Arc::clone(&accepted));
            identity.is_sampled.then(|| Box::new(telling()))
        });
        Self {
            shared: Arc::clone(shared),
            request,
            telling,
            context: Self::context(shared, request, flow, &execution, (accepted, parts)),
            epoch_seen: execution.epoch(),
            execution,
            seq,
            running: Running::default(),
            is_given_back: false,
            given_up: Vec::new(),
            made: HashSet::new(),
            known: VecDeque::new(),
            delayed: BTreeMap::new(),
            delays: 0,
            owned,
            appends,
            lingers_until_us: 0,
            pokes: shared.desk.driven(request),
            heard: 0,
            era,
            claimed: (now_us(), boot()),
            sent: boot(),
            stored: boot(),
            snapshot_us: now_us(),
            output: Output::default(),
            touched: Touched::new(),
            generation: 0,
            asked: None,
        }
    }

    /// What attempts under the present claim, generation and version share.
    fn context(
        shared: &Arc<Shared>,
        request: RequestId,
        flow: Arc<Flow>,
        execution: &Execution,
        (accepted, parts): (Arc<Accepted>, HashMap<u128, Bytes>),
    ) -> Arc<Context> {
        let (generation, epoch) = (execution.generation(), execution.epoch());
        let (stores, inline) = (&shared.stores, shared.settings.inline_bytes_max);
        let data = RequestData::new(request, (generation, epoch), stores, inline, parts);
        let trace = shared.traces.as_ref().map(|traces| RequestTrace {
            identity: traces.identity(request, &accepted),
            exporter: traces.exporter.clone(),
        });
        let shared = Arc::clone(shared);
        Arc::new(Context {
            trace,
            request,
            generation,
            epoch,
            data,
            shared,
            flow,
            accepted,
        })
    }

    /// After a claim or a restart: attempts run under the new epoch and generation.
    pub(super) async fn renew_context(&mut self) -> Result<(), DriveError> {
        let records = self.read_log(Seq::START).await?;
        let accepted = Arc::clone(&self.context.accepted);
        let flow = Arc::clone(self.execution.flow());
        let known = (accepted, parts(&records));
        self.context = Self::context(&self.shared, self.request, flow, &self.execution, known);
        Ok(())
    }
}

impl Beginning<'_> {
    /// Records the input and `accepted`, with the claim where there is room to drive; or nothing that
    /// counts.
    async fn begin(
        &mut self,
        input: &Value,
        mut accepted: Accepted,
        claim: bool,
    ) -> Result<(HashMap<u128, Bytes>, Arc<Accepted>), BeginError> {
        let mut kept = HashMap::new();
        accepted.input = self.keep_input(input, &mut kept).await?;
        let mut events = vec![Event::Accepted(accepted.clone())];
        if claim {
            events.push(claimed(self.shared, self.epoch));
        }
        let epoch = if claim { self.epoch } else { 0 };
        self.append(epoch, events).await?;
        Ok((kept, Arc::new(accepted)))
    }

    /// Keeps the input where it outlives the store: in `accepted`, or in parts before it. With an
    /// inline limit of 0 no payload goes into the log.
    async fn keep_input(
        &mut self,
        input: &Value,
        kept: &mut HashMap<u128, Bytes>,
    ) -> Result<ValueRef, BeginError> {
        let envelope = input.envelope();
        let inline_bytes_max = self.shared.settings.inline_bytes_max;
        let is_too_large = input.body().len() > self.shared.settings.durable_bytes_max;
        if is_too_large || inline_bytes_max == 0 || planted(Fault::InputInStore) {
            return Ok(Box::pin(self.put_input(envelope.clone())).await?);
        }
        if envelope.len() <= inline_bytes_max {
            return Ok(ValueRef::Inline(envelope.clone()));
        }
        let (at, parts) = parts_of(input);
        if let ValueRef::Parts { upload, .. } = &at {
            kept.insert(*upload, envelope.clone());
        }
        for part in parts {
            self.append(0, vec![part]).await?;
        }
        Ok(at)
    }

    /// Puts the input where it outlives the request's data; where nothing outlives this process, into the
    /// store.
    async fn put_input(&mut self, envelope: Bytes) -> Result<ValueRef, PutError> {
        let (size, begin) = (envelope.len() as u64, Instant::now());
        let until = self.until;
        let put = tokio::time::timeout_at(until, self.put_input_once_fit(envelope)).await;
        put.unwrap_or_else(|_| {
            Err(PutError::Failed(Failure::Unavailable {
                attempted: format!("putting the input, {size} bytes"),
                reason: format!(
                    "there was no room or no answer within {} s; ask again",
                    begin.elapsed().as_secs()
                ),
            }))
        })
    }

    async fn put_input_once_fit(&mut self, envelope: Bytes) -> Result<ValueRef, PutError> {
        let (request, stores) = (self.request, &self.shared.stores);
        let nonce = random() as u32;
        let key = format!("{{{request}}}input.{nonce:08x}");
        if !planted(Fault::InputInStore)
            && let Some(at) = stores.put_durable(request, &key, envelope.clone()).await?
        {
            return Ok(at);
        }
        loop {
            match stores
                .put(request, self.epoch, &key, envelope.clone())
                .await
            {
                Err(PutError::Stale { newer, .. }) => self.epoch = newer.epoch + 1,
                put => return put,
            }
        }
    }

    /// Whether what was appended up to now still stands, after a connection was lost.
    async fn stands(&mut self) -> Result<(), StateError> {
        let era = self.shared.state.link.borrow().era;
        if era == self.era || self.appends.is_empty() || planted(Fault::PartsForgotten) {
            return Ok(());
        }
        let records = self.read().await?;
        let ids: HashSet<_> = records.iter().map(|r| r.append.envelope.id).collect();
        if self
            .appends
            .iter()
            .all(|append| ids.contains(&append.envelope.id))
        {
            self.era = era;
            return Ok(());
        }
        Err(StateError::Unavailable {
            attempted: format!("parts of the input of request {}", self.request),
            reason: "the log lost them; ask again".to_owned(),
        })
    }

    /// Reads the log, as soon as it answers within the time that is left.
    async fn read(&self) -> Result<Vec<Record>, StateError> {
        let mut wait = AGAIN_MIN;
        loop {
            match self.shared.log.read(self.request, Seq::START).await {
                Err(error) if error.passes() && Instant::now() + wait <= self.until => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                read => return read,
            }
        }
    }

    /// One append. Where nobody answers it is tried again for a while: under its own id it stands once.
    /// Where another with the same key writes its parts, it comes after them.
    ///
    /// # Errors
    /// That nobody answered, where it may have been stored; whoever reads the log then sees to it.
    async fn append(&mut self, epoch: u64, events: Vec<Event>) -> Result<(), StateError> {
        let (shared, request) = (self.shared, self.request);
        let mut wait = AGAIN_MIN;
        let id = AppendId(random());
        let mut failed = None;
        loop {
            self.stands().await?;
            let envelope = Envelope {
                id,
                after: self.after,
                kind: Kind::Driver,
                epoch,
                replica: shared.replica,
                function: shared.settings.function.clone(),
                generation: 0,
                deadline_us: Some(self.deadline_us),
                wake_at_us: None,
                standing: Standing::Running,
            };
            let append = Append::new(envelope, events.clone());
            let stored = shared.log.append(request, self.seq, &append).await;
            let conflict = match stored {
                Ok(seq) => {
                    self.seq = seq;
                    self.after = Some(id);
                    self.appends.push(append);
                    return Ok(());
                }
                Err(error @ StateError::Conflict { .. }) => error,
                Err(error) => {
                    shared.note(&error);
                    let waits = error.passes() && !matches!(error, StateError::Full { .. });
                    let error = failed.take().filter(is_unanswered).unwrap_or(error);
                    if !waits || Instant::now() + wait > self.until {
                        return Err(error);
                    }
                    failed = Some(error);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                    continue;
                }
            };
            let records = self.read().await;
            let records = records.map_err(|error| failed.take().unwrap_or(error))?;
            let is_own = |record: &&Record| record.append.envelope.id == id;
            if let Some(own) = records.iter().find(is_own)
                && !planted(Fault::OwnUnseen)
            {
                self.seq = own.seq;
                self.after = Some(id);
                self.appends.push(append);
                return Ok(());
            }
            let mut all = records.iter().flat_map(|record| &record.append.events);
            let is_alone = all.all(|event| matches!(event, Event::Part { .. }));
            if records.is_empty() || !is_alone && !planted(Fault::AcceptedTwice) {
                return Err(conflict);
            }
            let known = self.seq;
            for record in records.into_iter().filter(|record| record.seq > known) {
                self.seq = record.seq;
                if record.append.envelope.after == self.after {
                    self.after = Some(record.append.envelope.id);
                    self.appends.push(record.append);
                }
            }
        }
    }
}

/// Whether it may have been stored: what comes later does not say that it was not.
const fn is_unanswered(error: &StateError) -> bool {
    matches!(error, StateError::Unanswered { .. })
}

/// The newest generation that a driver has begun.
fn begun_generation(records: &[Record]) -> u32 {
    let mut drivers = records.iter().rev().map(|record| &record.append.envelope);
    let newest = drivers.find(|envelope| envelope.kind == Kind::Driver);
    newest.map_or(0, |envelope| envelope.generation)
}

/// Whether nobody needs to drive a request that was released: nothing came after that, and its time
/// has not come.
fn rests(execution: &Execution, last: &Record) -> bool {
    let envelope = &last.append.envelope;
    let released = matches!(last.append.events.last(), Some(Event::Released { .. }));
    let later = envelope.wake_at_us.is_some_and(|at_us| at_us > now_us());
    released && later && !execution.is_closing() && execution.last() == Some(envelope.id)
}

pub(super) fn claimed(shared: &Shared, epoch: u64) -> Event {
    Event::Claimed {
        replica: shared.replica,
        epoch,
        at_us: now_us(),
    }
}
