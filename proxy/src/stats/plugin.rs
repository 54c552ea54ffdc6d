//! The filter `istio.stats`: what its configuration asks for, and its TCP side.

use std::sync::Arc;

use ironsail_xds::istio::PluginConfig;

use super::istio::{StatsSettings, TcpSeries};
use super::labels::{Call, Reporter, Service};
use crate::access_log::ResponseFlags;
use crate::network::TcpSession;
use crate::resource::CompileError;
use crate::resource::listener::TrafficDirection;
use crate::worker::Worker;

impl StatsSettings {
    /// Removed tags and dropped metrics are honoured. Added dimensions need CEL, which this proxy does not have:
    /// they are named in a warning and left out.
    ///
    /// # Errors
    /// None at present; the signature is that of all compilers.
    pub fn compile(config: &PluginConfig) -> Result<Self, CompileError> {
        let mut settings = Self {
            disable_host_header_fallback: config.disable_host_header_fallback,
            ..Self::default()
        };
        for metric in &config.metrics {
            settings.apply(metric);
        }
        for definition in &config.definitions {
            tracing::warn!(
                metric = definition.name,
                "Metric definitions are not supported"
            );
        }
        let rotation = config.rotation_interval.as_ref().map(ironsail_xds::to_std);
        if let Some(rotation) = rotation.filter(|rotation| !rotation.is_zero()) {
            let graceful = config.graceful_deletion_interval.as_ref();
            let graceful =
                graceful.map_or(std::time::Duration::from_secs(300), ironsail_xds::to_std);
            settings.expiry = Some(rotation + graceful);
        }
        Ok(settings)
    }

    fn apply(&mut self, metric: &ironsail_xds::istio::MetricConfig) {
        let all = metric.name.is_empty();
        if metric.drop {
            let dropped = &mut self.dropped;
            let named = |names: &[&str]| all || names.contains(&metric.name.as_str());
            dropped.requests |= named(&["requests_total"]);
            dropped.duration |= named(&["request_duration_milliseconds"]);
            dropped.request_bytes |= named(&["request_bytes"]);
            dropped.response_bytes |= named(&["response_bytes"]);
            dropped.messages |= named(&["request_messages_total", "response_messages_total"]);
            dropped.tcp |= named(&[
                "tcp_connections_opened_total",
                "tcp_connections_closed_total",
                "tcp_sent_bytes_total",
                "tcp_received_bytes_total",
            ]);
        }
        if all {
            let removed = metric.tags_to_remove.iter().map(|tag| tag.as_str().into());
            self.removed_tags.extend(removed);
        } else if !metric.tags_to_remove.is_empty() {
            tracing::warn!(
                metric = metric.name,
                "Tags are removed from all metrics or from none"
            );
        }
        if !metric.dimensions.is_empty() {
            tracing::warn!(
                metric = metric.name,
                "Dimensions by expression are not supported"
            );
        }
    }
}

/// Compiled filter `istio.stats` of TCP chains.
#[derive(Debug)]
pub struct IstioStats {
    settings: Arc<StatsSettings>,
    reporter: Reporter,
}

impl IstioStats {
    /// # Errors
    /// As [`StatsSettings::compile`].
    pub fn compile(
        config: &PluginConfig,
        direction: TrafficDirection,
    ) -> Result<Self, CompileError> {
        Ok(Self {
            settings: Arc::new(StatsSettings::compile(config)?),
            reporter: direction.into(),
        })
    }

    /// A proxied TCP connection is open, and its peer is known if it ever will be.
    pub fn tcp_opened(&self, session: &TcpSession, worker: &Worker) {
        self.series(session, worker).opened();
    }

    /// Bytes since the last report. Called every `tcp_reporting_duration` and before `tcp_closed`.
    pub fn tcp_bytes(&self, session: &TcpSession, received: u64, sent: u64, worker: &Worker) {
        self.series(session, worker).bytes(received, sent);
    }

    /// A connection for which `tcp_opened` was called has ended.
    pub fn tcp_closed(&self, session: &TcpSession, worker: &Worker) {
        self.series(session, worker).closed();
    }

    fn series(&self, session: &TcpSession, worker: &Worker) -> Arc<TcpSeries> {
        let tls = match self.reporter {
            Reporter::Source => session.upstream_tls.as_ref(),
            Reporter::Destination => session.info.tls.as_ref(),
        };
        let local = tls
            .and_then(|tls| tls.local_uri_sans.first())
            .map(|san| &**san);
        let remote = tls
            .and_then(|tls| tls.peer.as_ref()?.uri())
            .map(|san| &**san);
        let (source, destination) = match self.reporter {
            Reporter::Source => (local, remote),
            Reporter::Destination => (remote, local),
        };
        let peer = match self.reporter {
            Reporter::Source => session.upstream_peer.as_deref(),
            Reporter::Destination => session.downstream_peer.as_deref(),
        };
        let cluster = session.cluster.as_ref().map(|cluster| &cluster.config);
        let call = Call {
            reporter: self.reporter,
            peer,
            service: Service {
                service: cluster.and_then(|cluster| cluster.istio.services.first()),
                cluster: cluster.map_or("", |cluster| &cluster.name),
                host: None,
            },
            source_principal: source,
            destination_principal: destination,
            mutual_tls: session.info.is_mutual_tls(),
        };
        let flags = ResponseFlags::from_short(session.flags);
        worker.stats.reports.tcp(&self.settings, &call, flags)
    }
}

impl From<TrafficDirection> for Reporter {
    /// Inbound listeners report as the destination, all others as the source.
    fn from(direction: TrafficDirection) -> Self {
        match direction {
            TrafficDirection::Inbound => Reporter::Destination,
            TrafficDirection::Outbound | TrafficDirection::Unspecified => Reporter::Source,
        }
    }
}
