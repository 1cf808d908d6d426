//! Random flows under random schedules, held against a plain reading of the rules.
//!
//! Each schedule is a seed, so that a failure names what to run again:
//! `TURLOUGH_SEED=… cargo test -p turlough-flow-function one_schedule -- --ignored`.

mod again;
mod agree;
mod calls;
mod checks;
mod clock;
mod ends;
mod explore;
mod failing;
mod flows;
mod looks;
mod lost;
mod plain;
mod play;
mod proof;
mod rules;
mod settle;
mod undo;
mod world;
