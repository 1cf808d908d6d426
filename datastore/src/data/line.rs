//! Connections to a server that speaks RESP: made when they are needed, and again when they break.
//!
//! Invariants: whatever is asked is answered in a time that is bounded by its size; all that is asked
//! here may be asked twice, and is, where a connection broke; one large value does not keep small ones
//! waiting, and neither does what a server has to ask another for.

mod dialler;
mod fault;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::OnceCell;
use xxhash_rust::xxh3::xxh3_64;

pub(super) use dialler::{Dialler, Password, StoreLogin, Wire, cluster, read_authorities, server};
pub(super) use fault::{Fault, Said};

use super::error::Failure;

/// How long a small answer may take, with all that it takes to get it: a server that forks, and a
/// connection that is made anew, take less.
const ANSWER: Duration = Duration::from_secs(10);
/// A large one may take longer: the slowest network that this is used over, in bytes a second.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// A connection that broke is made again at once, and twice more.
const TRIES: u32 = 3;
/// Before the second try; doubled after it.
const PAUSE: Duration = Duration::from_millis(50);
/// Values up to here share the first connection.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// Others take turns: two fill what a network gives, and one is for the next.
const LANES: usize = 3;
/// Those for other servers are shared by few.
const LANES_AFAR: usize = 8;

/// The connections to a server.
#[derive(Debug)]
pub(super) struct Line {
    dialler: Dialler,
    small: Lane,
    large: [Lane; LANES],
    /// For what the server asks others for, of which one that does not answer keeps few waiting.
    small_afar: [Lane; LANES_AFAR],
    large_afar: [Lane; LANES_AFAR],
    turn: AtomicUsize,
}

/// A connection, or none yet; another cell takes its place when it breaks.
#[derive(Debug, Default)]
struct Lane(Mutex<Arc<OnceCell<Wire>>>);

impl Line {
    /// Connects.
    pub(super) async fn open(dialler: Dialler) -> Result<(Self, Wire), Failure> {
        let line = Self {
            dialler,
            small: Lane::default(),
            large: <[Lane; LANES]>::default(),
            small_afar: <[Lane; LANES_AFAR]>::default(),
            large_afar: <[Lane; LANES_AFAR]>::default(),
            turn: AtomicUsize::new(0),
        };
        let attempted = || format!("opening the store at {}", line.dialler.address());
        let cell = line.small.cell();
        let dialled = tokio::time::timeout(ANSWER, cell.get_or_try_init(|| line.dialler.dial()));
        let wire = match dialled.await {
            Ok(Ok(wire)) => wire.clone(),
            Ok(Err(fault)) => return Err(fault.failure(attempted())),
            Err(_) => return Err(no_answer(ANSWER).failure(attempted())),
        };
        Ok((line, wire))
    }

    /// Has a command carried out that moves so many bytes: what it was answered, and by whom.
    pub(super) async fn ask(&self, command: &Cmd, bytes: usize) -> Result<(Value, Wire), Fault> {
        let lane = match bytes {
            ..=SMALL_BYTES_MAX => &self.small,
            _ => &self.large[self.turn.fetch_add(1, Ordering::Relaxed) % LANES],
        };
        self.ask_on(lane, command, bytes).await
    }

    /// The same for what the server may have to ask another for.
    pub(super) async fn ask_afar(
        &self,
        other: &str,
        command: &Cmd,
        bytes: usize,
    ) -> Result<(Value, Wire), Fault> {
        let lanes = match bytes {
            ..=SMALL_BYTES_MAX => &self.small_afar,
            _ => &self.large_afar,
        };
        let place = xxh3_64(other.as_bytes()) % LANES_AFAR as u64;
        self.ask_on(&lanes[place as usize], command, bytes).await
    }

    async fn ask_on(
        &self,
        lane: &Lane,
        command: &Cmd,
        bytes: usize,
    ) -> Result<(Value, Wire), Fault> {
        let limit = ANSWER + Duration::from_secs(bytes as u64 / BYTES_PER_SECOND);
        let cell = lane.cell();
        let asking = tokio::time::timeout(limit, self.ask_again(lane, command));
        asking.await.unwrap_or_else(|_| {
            // It may never answer: another connection tells.
            lane.forget(&cell);
            Err(no_answer(limit))
        })
    }

    async fn ask_again(&self, lane: &Lane, command: &Cmd) -> Result<(Value, Wire), Fault> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.ask_once(lane, command).await {
                Err(fault @ Fault::Away(_)) => {
                    tracing::debug!(address = self.dialler.address(), %fault, "store is asked again");
                }
                answered => return answered,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.ask_once(lane, command).await
    }

    async fn ask_once(&self, lane: &Lane, command: &Cmd) -> Result<(Value, Wire), Fault> {
        let cell = lane.cell();
        let wire = cell.get_or_try_init(|| self.dialler.dial()).await?.clone();
        match wire.connection.clone().ask(command).await {
            Ok(value) => Ok((value, wire)),
            Err(error) => {
                if fault::is_broken(&error) {
                    lane.forget(&cell);
                }
                Err(wire.connection.fault(&error))
            }
        }
    }
}

impl Lane {
    fn cell(&self) -> Arc<OnceCell<Wire>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the next one who asks connect anew, where nobody else did.
    fn forget(&self, broken: &Arc<OnceCell<Wire>>) {
        let mut cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&cell, broken) {
            *cell = Arc::default();
        }
    }
}

fn no_answer(limit: Duration) -> Fault {
    Fault::Away(format!("no answer within {limit:?}"))
}
