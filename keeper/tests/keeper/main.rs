//! A keeper on a real state in memory, with requests written as drivers write them.

mod duties;
mod lists;
mod load;
mod recovery;
mod two;
mod world;
