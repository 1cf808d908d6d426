//! References, credentials and lists of stores.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turlough_datastore::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::texts(bytes));
