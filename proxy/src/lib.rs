//! The data plane and its agent.

pub mod http;
