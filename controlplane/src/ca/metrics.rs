//! Metrics of the authority under the names of the peer's dashboards.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry};

/// Counters of signing.
#[derive(Clone, Debug)]
pub struct CaMetrics {
    pub csr_count: IntCounter,
    pub authentication_failures: IntCounter,
    pub csr_parsing_errors: IntCounter,
    pub id_extraction_errors: IntCounter,
    /// Label `error`: `csr_sign_error`, `ca_not_ready`, `ttl_error`.
    pub csr_sign_errors: IntCounterVec,
    pub successes: IntCounter,
    root_expiry_timestamp: Gauge,
    root_expiry_seconds: Gauge,
    chain_expiry_timestamp: Gauge,
    chain_expiry_seconds: Gauge,
}

impl CaMetrics {
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<Gauge, prometheus::Error> {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let csr_sign_errors = IntCounterVec::new(
            Opts::new(
                "citadel_server_csr_sign_err_count",
                "Requests that could not be signed.",
            ),
            &["error"],
        )?;
        registry.register(Box::new(csr_sign_errors.clone()))?;
        Ok(Self {
            csr_count: counter("citadel_server_csr_count", "Signing requests received.")?,
            authentication_failures: counter(
                "citadel_server_authentication_failure_count",
                "Signing requests of callers that could not be authenticated.",
            )?,
            csr_parsing_errors: counter(
                "citadel_server_csr_parsing_err_count",
                "Signing requests that could not be parsed.",
            )?,
            id_extraction_errors: counter(
                "citadel_server_id_extraction_err_count",
                "Signing requests whose caller has no usable identity.",
            )?,
            csr_sign_errors,
            successes: counter(
                "citadel_server_success_cert_issuance_count",
                "Certificates issued.",
            )?,
            root_expiry_timestamp: gauge(
                "citadel_server_root_cert_expiry_timestamp",
                "Unix time at which the root certificate expires.",
            )?,
            root_expiry_seconds: gauge(
                "citadel_server_root_cert_expiry_seconds",
                "Seconds until the root certificate expires.",
            )?,
            chain_expiry_timestamp: gauge(
                "citadel_server_cert_chain_expiry_timestamp",
                "Unix time at which the signing certificate expires.",
            )?,
            chain_expiry_seconds: gauge(
                "citadel_server_cert_chain_expiry_seconds",
                "Seconds until the signing certificate expires.",
            )?,
        })
    }

    /// Brings the gauges up to date; Unix times of expiry.
    pub fn set_expiry(&self, root: i64, chain: i64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        for (time, timestamp, seconds) in [
            (root, &self.root_expiry_timestamp, &self.root_expiry_seconds),
            (
                chain,
                &self.chain_expiry_timestamp,
                &self.chain_expiry_seconds,
            ),
        ] {
            timestamp.set(time as f64);
            seconds.set(time as f64 - now);
        }
    }
}
