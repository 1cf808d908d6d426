//! `turlough` as users have it: the real binary, real functions, ports that were free.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod harness;

mod answers;
mod commands;
mod control;
mod deploying;
mod examples;
mod faults;
mod guest;
mod login;
mod putting;
mod replaying;
mod several;
mod stop;
mod templates;
mod values;
mod waiting;
mod watching;
