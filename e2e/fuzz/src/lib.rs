//! Everything that reads what others wrote, under hostile inputs.
//!
//! A [`Target`] is a function that must neither panic nor break its promise, whatever the bytes are. `make fuzz` gives
//! each to libFuzzer; the test of this crate replays seeds, small changes of them, and what was found before
//! (`regressions/<target>`).

mod chain;
mod config;
mod target;

pub use target::{TARGETS, Target};
