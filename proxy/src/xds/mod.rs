//! The ADS client and what it hands on.

pub mod sink;

pub use sink::{Rejected, Resource, Sink, Update, Wanted};
