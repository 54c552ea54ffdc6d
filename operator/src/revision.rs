//! Revisions side by side: which one is the default, and who uses which.

pub mod claim;
pub mod in_use;
pub mod proxies;
