//! Locks, counters and threads: those of the standard library, or, with the feature `shuttle`, those of a
//! checker that tries the orders in which threads may go on.

#[cfg(not(feature = "shuttle"))]
mod chosen {
    pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, atomic, mpsc};
    pub(crate) use std::thread;
}

#[cfg(feature = "shuttle")]
mod chosen {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, atomic, mpsc};
    pub(crate) use shuttle::thread;
}

pub(crate) use chosen::*;
