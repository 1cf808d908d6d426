//! A flow-function as a process on a state that is not as it must be: it says why, is healthy and not
//! ready, answers callers at once that it cannot take more, ends nothing and doubles nothing, and goes
//! on by itself once that is mended.
//!
//! Clocks that jump are not here: a process has no clock that a test could set for it alone. The
//! simulated cluster sets the wall clocks of its hosts.

mod at_start;
mod heartbeat;
mod logs;
mod place;
mod redis;
mod running;
mod space;
