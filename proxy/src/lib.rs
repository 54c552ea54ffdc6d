//! The data plane and its agent.
//!
//! Configuration arrives as xDS, is compiled once into an immutable [`snapshot::Snapshot`] and handed to the worker
//! threads. A worker is a current-thread runtime: connections, pools and counters of one worker are plain `Rc`s that
//! no other thread sees.

pub mod access_log;
pub mod admin;
pub mod agent;
pub mod bootstrap;
pub mod capture;
pub mod cluster;
pub mod command;
pub mod conn;
pub mod filter_chain;
pub mod http;
pub mod listener;
pub mod network;
pub mod peer;
pub mod resource;
pub mod route;
pub mod run;
pub mod snapshot;
pub mod stats;
pub mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport_socket;
pub mod worker;
pub mod xds;
