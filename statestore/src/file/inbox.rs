//! The thread that writes, and what waits for it: many callers hand in what they want, the thread
//! takes all that waits at once and writes it together.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What waits may take this much, in units: beyond it whoever comes waits for room.
const WAITING_UNITS: usize = 64 * 1024;
const UNIT_BYTES: usize = 1024;
/// Units that are written at once: enough to share one wait for the disk among thousands, little
/// enough that the first of them does not wait long.
const BATCH_UNITS: usize = 4 * 1024;

/// Who writes, on a thread of its own.
pub(super) trait Writer: Send + 'static {
    type Command: Send + 'static;

    /// Does what is asked, and answers each.
    fn write(&mut self, commands: Vec<Self::Command>);

    /// What is to be done now and then.
    fn tick(&mut self);
}

/// Hands commands to a writer. The writer ends when this is dropped, after what was handed in.
#[derive(Debug)]
pub(super) struct Inbox<C> {
    shared: Arc<Shared<C>>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared<C> {
    waiting: Mutex<Waiting<C>>,
    more: Condvar,
}

#[derive(Debug)]
struct Waiting<C> {
    commands: VecDeque<(C, OwnedSemaphorePermit)>,
    is_closed: bool,
    is_dead: bool,
}

impl<C: Send + 'static> Inbox<C> {
    /// Starts the writer's thread.
    pub(super) fn start<W>(name: &str, mut writer: W, tick: Duration) -> std::io::Result<Self>
    where
        W: Writer<Command = C>,
    {
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting {
                commands: VecDeque::new(),
                is_closed: false,
                is_dead: false,
            }),
            more: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            let alive = Alive(&of_thread);
            run(alive.0, &mut writer, tick);
        })?;
        let room = Arc::new(Semaphore::new(WAITING_UNITS));
        Ok(Self { shared, room })
    }

    /// Hands in a command that holds so many bytes; false where the writer is gone.
    pub(super) async fn send(&self, command: C, bytes: usize) -> bool {
        let units = (1 + bytes / UNIT_BYTES).min(WAITING_UNITS) as u32;
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(units).await else {
            return false;
        };
        let mut waiting = self.shared.waiting();
        if waiting.is_dead {
            return false;
        }
        waiting.commands.push_back((command, room));
        drop(waiting);
        self.shared.more.notify_one();
        true
    }
}

impl<C> Drop for Inbox<C> {
    fn drop(&mut self) {
        self.shared.waiting().is_closed = true;
        self.shared.more.notify_one();
    }
}

impl<C> Shared<C> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<C>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells callers when the thread ends, also by a panic.
struct Alive<'a, C>(&'a Shared<C>);

impl<C> Drop for Alive<'_, C> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_dead = true;
        waiting.commands.clear();
    }
}

fn run<W: Writer>(shared: &Shared<W::Command>, writer: &mut W, tick: Duration) {
    let mut ticked = Instant::now();
    loop {
        let due = tick.saturating_sub(ticked.elapsed());
        let waiting = shared.waiting();
        let waited = shared.more.wait_timeout_while(waiting, due, |waiting| {
            waiting.commands.is_empty() && !waiting.is_closed
        });
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut units = 0;
        let (mut commands, mut rooms) = (Vec::new(), Vec::new());
        while units < BATCH_UNITS
            && let Some((command, room)) = waiting.commands.pop_front()
        {
            units += room.num_permits();
            commands.push(command);
            rooms.push(room);
        }
        let is_closed = waiting.is_closed;
        drop(waiting);
        if commands.is_empty() && is_closed {
            return;
        }
        if !commands.is_empty() {
            writer.write(commands);
        }
        if ticked.elapsed() >= tick {
            writer.tick();
            ticked = Instant::now();
        }
    }
}
