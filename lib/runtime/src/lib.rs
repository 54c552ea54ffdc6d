//! How every program behaves as a pod: logs, readiness, signals, drain, retries, small HTTP servers, name
//! resolution and connections, values that are once in memory.
//!
//! Nothing here knows Kubernetes, xDS or what the program is for.

pub mod admin;
pub mod drain;
pub mod log;
pub mod net;
pub mod process;
pub mod readiness;
pub mod retry;
pub mod shared;
pub mod signal;
pub mod tls;
pub mod version;
