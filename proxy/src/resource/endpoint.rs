//! Compiled `ClusterLoadAssignment`: the endpoints of a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use ironsail_mesh::locality::Locality;

use crate::peer::PeerMetadata;

/// All endpoints of a cluster, by priority.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    /// Index is the priority, 0 first.
    pub priorities: Vec<Vec<LocalityEndpoints>>,
    /// Percent of healthy endpoints at which a priority still takes everything; default 140.
    pub overprovisioning_factor: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LocalityEndpoints {
    pub locality: Locality,
    /// Share of traffic of this locality; `None`: by its endpoints.
    pub weight: Option<u32>,
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// One address that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub hostname: Arc<str>,
    pub health: HealthStatus,
    /// At least 1.
    pub weight: u32,
    /// Metadata `envoy.transport_socket_match`, sorted: `tlsMode=istio`.
    pub transport_match: Box<[(Arc<str>, Arc<str>)]>,
    /// From metadata `istio.workload`.
    pub workload: Option<Arc<PeerMetadata>>,
}

/// What discovery says of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// Unknown counts as healthy.
    #[default]
    Healthy,
    Degraded,
    Unhealthy,
    Draining,
}

impl HealthStatus {
    /// Whether new requests may go there.
    pub fn takes_requests(self) -> bool {
        matches!(self, HealthStatus::Healthy | HealthStatus::Degraded)
    }
}
