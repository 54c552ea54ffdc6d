//! What the control plane reads from and writes to the Kubernetes API.

pub mod root_cert;
