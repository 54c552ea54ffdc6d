//! The certificate authority: its root, what it signs, and how the root reaches workloads.
//!
//! One root per mesh. Signing is pure ([`authority`], [`csr`]); Secrets, files and ConfigMaps are at the edges.

pub mod authenticate;
pub mod authority;
pub mod csr;
pub mod handle;
pub mod lifecycle;
pub mod material;
pub mod metrics;
pub mod root;
pub mod secret;
pub mod service;
pub mod serving;

pub use authority::Authority;
pub use handle::CaHandle;
