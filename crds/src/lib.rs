//! CRD types and their validation; this crate does no I/O.
