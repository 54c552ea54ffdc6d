//! Vocabulary of the mesh; no Kubernetes client, no runtime, no I/O.

pub mod duration;
