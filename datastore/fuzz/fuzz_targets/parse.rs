//! Commands are the same however they are cut, and those that another parser reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turlough_datastore::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::parse(bytes));
