//! How a driver comes to its request: by accepting it, or by reading what another left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;
use turlough_datastore::PutError;
use turlough_sdk::{Flow, RequestId, Value, ValueRef};
use turlough_statestore::event::Accepted;
use turlough_statestore::{Append, AppendError, AppendId, Envelope, Event, Kind, Seq};

use super::pieces::parts_of;
use super::{DriveError, Driver, random};
use crate::clock::now_us;
use crate::data::RequestData;
use crate::engine::parts;
use crate::index::Summary;
use crate::machine::Execution;
use crate::runner::Context;
use crate::shared::Shared;

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
    Log(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] PutError),
}

impl BeginError {
    /// Another request stands under the id.
    pub(crate) const fn stands(request: RequestId) -> Self {
        let (expected, last) = (Seq::START, Seq::START);
        Self::Log(AppendError::Conflict {
            request,
            expected,
            last,
        })
    }
}

/// A log that begins.
struct Beginning<'a> {
    shared: &'a Arc<Shared>,
    request: RequestId,
    deadline_us: u64,
    seq: Seq,
    after: Option<AppendId>,
    appends: Vec<Append>,
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
        let mut log = Beginning {
            shared,
            request,
            deadline_us: accepted.deadline_us,
            seq: Seq::START,
            after: None,
            appends: Vec::new(),
        };
        let (parts, accepted) = match log.begin(&input, accepted, claim).await {
            Ok(begun) => begun,
            Err(error) => {
                if log.seq > Seq::START {
                    // Parts that nothing names.
                    shared.log.expire(request);
                }
                return Err(error);
            }
        };
        let (seq, appends) = (log.seq, log.appends);
        let parent = accepted.parent.as_ref().map(|parent| parent.request);
        let summary = Summary::accepted(flow.name(), flow.version(), accepted.at_us, parent);
        shared.index.insert(request, summary);
        if !claim {
            return Ok(None);
        }
        let versions = shared.registry.versions(flow.name());
        let mut execution = Execution::new(request, Arc::clone(&flow), versions);
        for append in &appends {
            execution.fold(append);
        }
        let driver = Self::new(
            shared,
            request,
            flow,
            execution,
            (seq, accepted, parts),
            (true, 1),
        );
        let gone = AppendError::Conflict {
            request,
            expected: seq,
            last: Seq::START,
        };
        Ok(Some(driver.ok_or(gone)?))
    }

    /// Reads what stands in a request's log.
    pub(crate) async fn resume(
        shared: &Arc<Shared>,
        request: RequestId,
        flow: Arc<Flow>,
    ) -> Result<Self, DriveError> {
        let records = shared.log.read(request, Seq::START).await?;
        let last = records.last().ok_or(DriveError::Gone)?.seq;
        let versions = shared.registry.versions(flow.name());
        let mut execution = Execution::new(request, Arc::clone(&flow), versions);
        for record in &records {
            execution.fold(&record.append);
        }
        let accepted = execution.accepted().cloned().ok_or(DriveError::Gone)?;
        let known = (last, Arc::new(accepted), parts(&records));
        Self::new(
            shared,
            request,
            flow,
            execution,
            known,
            (false, records.len()),
        )
        .ok_or(DriveError::Gone)
    }

    fn new(
        shared: &Arc<Shared>,
        request: RequestId,
        flow: Arc<Flow>,
        execution: Execution,
        (seq, accepted, parts): (Seq, Arc<Accepted>, HashMap<u128, Bytes>),
        (owned, appends): (bool, usize),
    ) -> Option<Self> {
        let tail = shared.log.tail(request)?;
        let mut driver = Self {
            shared: Arc::clone(shared),
            request,
            context: Self::context(shared, request, flow, &execution, (accepted, parts)),
            execution,
            seq,
            running: JoinSet::new(),
            tasks: HashMap::new(),
            attempts: HashMap::new(),
            given_up: Vec::new(),
            made: HashSet::new(),
            delayed: BTreeMap::new(),
            delays: 0,
            owned,
            appends,
            lingers_until_us: 0,
            tail,
        };
        driver.tail.mark_unchanged();
        Some(driver)
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
        let (store, inline) = (Arc::clone(&shared.store), shared.settings.inline_bytes_max);
        let data = RequestData::new(request, generation, epoch, store, inline, parts);
        let shared = Arc::clone(shared);
        Arc::new(Context {
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
        let records = self.shared.log.read(self.request, Seq::START).await?;
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
            events.push(claimed(self.shared, FIRST_EPOCH));
        }
        self.append(if claim { FIRST_EPOCH } else { 0 }, events)
            .await?;
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
        if inline_bytes_max == 0 {
            let key = format!("{{{}}}input", self.request);
            let store = &self.shared.store;
            return Ok(store.put(self.request, FIRST_EPOCH, &key, envelope.clone())?);
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

    async fn append(&mut self, epoch: u64, events: Vec<Event>) -> Result<(), AppendError> {
        let envelope = Envelope {
            id: AppendId(random()),
            after: self.after,
            kind: Kind::Driver,
            epoch,
            replica: self.shared.replica,
            function: self.shared.settings.function.clone(),
            generation: 0,
            deadline_us: Some(self.deadline_us),
            wake_at_us: None,
        };
        let append = Append::new(envelope, events);
        self.seq = self
            .shared
            .log
            .append(self.request, self.seq, &append)
            .await?;
        self.after = Some(append.envelope.id);
        self.appends.push(append);
        Ok(())
    }
}

pub(super) fn claimed(shared: &Shared, epoch: u64) -> Event {
    Event::Claimed {
        replica: shared.replica,
        epoch,
        at_us: now_us(),
    }
}
