//! Revisions side by side: which one is the default.

pub mod claim;
