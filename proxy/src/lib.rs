//! The data plane and its agent.
