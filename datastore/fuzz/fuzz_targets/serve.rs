//! A connection answers any bytes, and nothing of it stays.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turlough_datastore::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::serve(bytes));
