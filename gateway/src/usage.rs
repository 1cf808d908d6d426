//! What functions' processes take of the machine, by the kernel's figures: processor time, and memory.
//!
//! `account` keeps the sums of a function, `meter` looks at what runs, `ended` reads what a process took
//! that has ended, and `cost` what one call did.
//!
//! Invariants: the time of a function never falls, whatever becomes of its processes; what was counted of
//! a process once is not counted again. Deliberately absent: the time of what a process started and nobody
//! reaped, after the last look at it; nobody knows it.

mod account;
mod cost;
mod ended;
mod family;
mod meter;
mod process;

pub(crate) use account::Account;
pub(crate) use cost::{Cost, CostOfCall};
pub(crate) use ended::{Ended, taken_by};
pub(crate) use meter::{LastLook, Meter, Metered};
pub(crate) use process::resident_bytes_of_this;
