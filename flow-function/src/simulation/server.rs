//! The server that keeps the state, and what may happen to it and on the way to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use turlough_statestore::{MemoryBus, MemoryLog, MemoryQueue, MemoryTable, Options, Seq, State};

use super::time;
use super::trap::Traps;
use super::wire::Wire;
use crate::dice::Dice;

/// How long what is stored may be lost when the server's machine loses its power.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_micros(SYNC_US);
const SYNC_US: u64 = 1_500_000;

/// The state as it is, whoever sees it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) runtime: Handle,
    pub(super) log: MemoryLog,
    pub(super) queue: Arc<MemoryQueue>,
    pub(super) bus: Arc<MemoryBus>,
    pub(super) flows: Arc<MemoryTable>,
    pub(super) replicas: Arc<MemoryTable>,
    /// What scenarios catch.
    pub(super) traps: Traps,
    weather: Mutex<Weather>,
    /// How often it was started.
    starts: AtomicU64,
    /// Messages under way.
    under_way: Arc<AtomicUsize>,
    /// When each append was stored, as far back as it can be lost.
    stored: Mutex<Vec<(u64, Seq)>>,
    /// The same, for as long as it is kept.
    kept: Mutex<VecDeque<(u64, Seq)>>,
}

/// What becomes of messages.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) dice: Dice,
    /// Of a hundred messages, so many are late by up to seconds.
    pub(super) late_percent: usize,
    /// Of a hundred, so many are lost on their way, and as many answers on theirs.
    pub(super) lost_percent: usize,
}

/// What becomes of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) way: Duration,
    pub(super) way_back: Duration,
    pub(super) is_lost: bool,
    pub(super) is_answer_lost: bool,
    pub(super) is_doubled: bool,
}

/// A message is under way for as long as this is held.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    pub(super) fn new(runtime: &Handle, options: &Options, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            runtime: runtime.clone(),
            log: MemoryLog::new(options.bytes_max),
            queue: Arc::new(MemoryQueue::new(options.visibility)),
            bus: Arc::default(),
            flows: Arc::default(),
            replicas: Arc::new(MemoryTable::lapsing(options.heartbeat)),
            traps: Traps::default(),
            weather: Mutex::new(Weather {
                dice: Dice(seed),
                late_percent: 0,
                lost_percent: 0,
            }),
            starts: AtomicU64::new(1),
            under_way: Arc::default(),
            stored: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// The state as a host sees it.
    pub(super) fn state(self: &Arc<Self>, host: &str, link: super::host::LinkOf) -> State {
        let wire = Wire::new(Arc::clone(self), host, link.clone());
        State {
            log: Arc::new(wire.clone()),
            queue: Arc::new(wire.clone()),
            bus: Arc::new(wire.clone()),
            flows: Arc::new(wire.table(&self.flows)),
            replicas: Arc::new(wire.table(&self.replicas)),
            is_shared: true,
            link,
        }
    }

    pub(super) fn change_weather(&self, late_percent: usize, lost_percent: usize) {
        let mut weather = self.weather();
        weather.late_percent = late_percent;
        weather.lost_percent = lost_percent;
    }

    pub(super) fn fate(&self) -> Fate {
        let mut weather = self.weather();
        let Weather {
            late_percent,
            lost_percent,
            ..
        } = *weather;
        let dice = &mut weather.dice;
        let mut way = || {
            let late_ms = if dice.chance(late_percent) { 3_000 } else { 3 };
            Duration::from_millis(dice.roll(late_ms) as u64)
        };
        let (way, way_back) = (way(), way());
        Fate {
            way,
            way_back,
            is_lost: dice.chance(lost_percent),
            is_answer_lost: dice.chance(lost_percent),
            is_doubled: dice.chance(lost_percent),
        }
    }

    pub(super) fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// It is killed: what was under way to it is lost, and so may be the newest appends. Gives how
    /// many it lost.
    pub(super) fn crash(&self, now_us: u64, loses: bool) -> usize {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.retain(|(at_us, _)| at_us + SYNC_US > now_us);
        let last = self.log.last_place();
        let kept = match loses && !stored.is_empty() {
            true => {
                let at = self.weather().dice.roll(stored.len());
                Seq::new(stored[at].1.get() - 1)
            }
            false => last,
        };
        drop(stored);
        self.crash_after(kept)
    }

    /// It is killed, and keeps what stands up to a place.
    pub(super) fn crash_after(&self, kept: Seq) -> usize {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.clear();
        let last = self.log.last_place();
        self.log.lose_after(kept);
        self.kept().retain(|(_, seq)| *seq <= kept);
        (last.get() - kept.get()) as usize
    }

    /// Remembers what may be lost.
    pub(super) fn has_stored(&self, seq: Seq) {
        let Some(now_us) = time::wall_us() else {
            return;
        };
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.retain(|(at_us, _)| at_us + SYNC_US > now_us);
        stored.push((now_us, seq));
        self.kept().push_back((now_us, seq));
    }

    /// What is older than this is gone.
    pub(super) fn expire(&self, before_us: u64) {
        let mut kept = self.kept();
        let mut last = None;
        while let Some((at_us, seq)) = kept.front()
            && *at_us < before_us
        {
            last = Some(*seq);
            kept.pop_front();
        }
        if let Some(last) = last {
            self.log.expire_to(last);
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(u64, Seq)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send_off(&self) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.under_way))
    }

    /// Whether messages are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
