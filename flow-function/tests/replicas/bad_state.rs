//! A flow-function as a process on a state that is not as it must be: it says why, is healthy and not
//! ready, answers callers at once that it cannot take more, ends nothing and doubles nothing, and goes
//! on by itself once that is mended.

mod at_start;
mod clock;
mod heartbeat;
mod logs;
mod place;
mod redis;
mod running;
mod space;
