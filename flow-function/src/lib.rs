#![allow(dead_code)]
mod machine;
mod shim;
