//! Counters of one worker.

use ironsail_xds::istio;

use crate::network::TcpSession;
use crate::resource::CompileError;
use crate::resource::listener::TrafficDirection;
use crate::worker::Worker;

/// The counters of one worker; the admin endpoint adds those of all.
#[derive(Debug, Default)]
pub struct Shard {}

/// Compiled filter `istio.stats`.
#[derive(Debug)]
pub struct IstioStats {}

impl IstioStats {
    /// # Errors
    /// Invalid expressions.
    pub fn compile(
        _config: &istio::PluginConfig,
        _direction: TrafficDirection,
    ) -> Result<Self, CompileError> {
        Ok(Self {})
    }

    /// A proxied TCP connection is open, and its peer is known if it ever will be.
    pub fn tcp_opened(&self, _session: &TcpSession, _worker: &Worker) {}

    /// Bytes since the last report. Called every `tcp_reporting_duration` and before `tcp_closed`.
    pub fn tcp_bytes(&self, _session: &TcpSession, _received: u64, _sent: u64, _worker: &Worker) {}

    /// A connection for which `tcp_opened` was called has ended.
    pub fn tcp_closed(&self, _session: &TcpSession, _worker: &Worker) {}
}
