//! What the control plane reads from and writes to the Kubernetes API.

pub mod gate;
pub mod root_cert;
pub mod settings;
pub mod watch;
