//! What the agent counts, under the peer's names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::Credential;

/// Counters of the agent.
#[derive(Debug, Default)]
pub struct AgentStats {
    pub(super) csr_requests: AtomicU64,
    pub(super) csr_failures: AtomicU64,
}

impl AgentStats {
    /// Requests sent to the certificate authority.
    pub fn csr_requests(&self) -> u64 {
        self.csr_requests.load(Ordering::Relaxed)
    }

    /// Requests that brought no usable certificate.
    pub fn csr_failures(&self) -> u64 {
        self.csr_failures.load(Ordering::Relaxed)
    }

    /// The Prometheus text of the agent.
    pub fn prometheus(&self, credential: Option<&Credential>, now: SystemTime) -> String {
        let mut text = String::new();
        for (name, help, value) in [
            (
                "istio_agent_num_outgoing_requests",
                "Requests to the certificate authority.",
                self.csr_requests(),
            ),
            (
                "istio_agent_num_failed_outgoing_requests",
                "Requests to the certificate authority that failed.",
                self.csr_failures(),
            ),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name}{{request_type=\"csr\"}} {value}"
            );
        }
        if let Some(credential) = credential {
            let name = "istio_agent_cert_expiry_seconds";
            let seconds = seconds_between(now, credential.not_after());
            let _ = writeln!(
                text,
                "# HELP {name} Seconds until the certificate expires, negative when it has.\n\
                 # TYPE {name} gauge\n{name}{{resource_name=\"default\"}} {seconds}"
            );
        }
        text
    }
}

fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(left) => left.as_secs_f64(),
        Err(over) => -over.duration().as_secs_f64(),
    }
}
