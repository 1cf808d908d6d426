#![allow(dead_code)]
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod machine;
mod shim;
