//! The same configuration and the same calls for our proxy and for a stock Envoy: the answers must be the same.
//!
//! Calls are data, one line each, in files below `calls/` (see [`topic`] and [`call`]). A topic's configuration is
//! turned into Envoy's resources once and given to both proxies; clients and upstream servers are this crate's own, so
//! that what went over the wire is known byte by byte. A difference is a bug, or a decision that stands in the topic and
//! is named beside the call; then the difference itself is what is asserted.
//!
//! Everything runs on loopback. Envoy is only run, never shipped.

pub mod access_log;
pub mod board;
pub mod call;
pub mod certificate;
pub mod client;
pub mod compare;
pub mod config;
pub mod document;
pub mod outcome;
pub mod proxy;
pub mod run;
pub mod server;
pub mod topic;
