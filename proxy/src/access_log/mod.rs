//! Access logs.

use ironsail_xds::accesslog as proto;

use crate::network::TcpSession;
use crate::resource::CompileError;
use crate::worker::Worker;

/// A compiled access log.
#[derive(Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// # Errors
    /// Unknown sinks or filters, invalid formats.
    pub fn compile(_config: &proto::AccessLog) -> Result<Self, CompileError> {
        Ok(Self {})
    }

    /// Logs a TCP connection that has ended.
    pub fn log_tcp(&self, _session: &TcpSession, _worker: &Worker) {}
}
