//! [Sidecar](https://istio.io/latest/docs/reference/config/networking/sidecar/): what sidecars
//! listen on and what they know of.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::networking::destination_rule::ConnectionPoolSettings;
use crate::networking::gateway::ServerTlsSettings;
use crate::networking::virtual_service::Destination;
use crate::object::{Object, Spec};
use crate::wire::{open_enum, wire};

/// A Sidecar object.
pub type Sidecar = Object<SidecarSpec>;

impl Spec for SidecarSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::SIDECAR;
}

wire! {
    /// What sidecars listen on and what they know of.
    pub struct SidecarSpec {
        /// Pods this is for; default is the whole namespace.
        pub workload_selector: Option<WorkloadSelector>,
        /// Inbound listeners instead of those made from services.
        pub ingress: Vec<IngressListener>,
        /// Outbound listeners and the services behind them.
        pub egress: Vec<EgressListener>,
        /// Limits of all inbound connections.
        pub inbound_connection_pool: Option<ConnectionPoolSettings>,
        /// What happens to traffic for unknown hosts.
        pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    }

    /// Pods by labels.
    pub struct WorkloadSelector {
        /// Labels that a pod must have.
        #[schemars(schema_with = "crate::schema::part::selector_labels")]
        pub labels: BTreeMap<String, String>,
    }

    /// An inbound listener.
    #[schemars(extend("required" = ["port"]))]
    pub struct IngressListener {
        /// The port.
        pub port: Option<SidecarPort>,
        /// Address to listen on; default is the pod's.
        pub bind: String,
        /// How traffic gets here.
        pub capture_mode: CaptureMode,
        /// `127.0.0.1:PORT`, `0.0.0.0:PORT` or `unix://` and an absolute path.
        pub default_endpoint: String,
        /// TLS towards clients.
        pub tls: Option<ServerTlsSettings>,
        /// Limits of its connections.
        pub connection_pool: Option<ConnectionPoolSettings>,
    }

    /// An outbound listener.
    #[schemars(extend("required" = ["hosts"]))]
    pub struct EgressListener {
        /// The port; default is every port of the hosts.
        pub port: Option<SidecarPort>,
        /// Address to listen on, or `unix://` and an absolute path.
        pub bind: String,
        /// How traffic gets here.
        pub capture_mode: CaptureMode,
        /// Services as `namespace/host`; the namespace may be `*`, `.` or `~`.
        pub hosts: Vec<String>,
    }

    /// A port of a sidecar.
    pub struct SidecarPort {
        /// Port number, 1 to 65535.
        pub number: u32,
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.
        pub protocol: String,
        /// Name.
        pub name: String,
        /// Not used.
        pub target_port: u32,
    }

    /// What happens to traffic for unknown hosts.
    pub struct OutboundTrafficPolicy {
        /// Whether it may leave.
        pub mode: OutboundTrafficMode,
        /// Service that such traffic is sent to.
        pub egress_proxy: Option<Destination>,
    }
}

open_enum! {
    /// How traffic gets to a listener.
    pub enum CaptureMode {
        /// As the mesh says.
        Default = "DEFAULT",
        /// By redirection.
        Iptables = "IPTABLES",
        /// By the client's own doing.
        None = "NONE",
    }

    /// Whether traffic for unknown hosts may leave.
    pub enum OutboundTrafficMode {
        RegistryOnly = "REGISTRY_ONLY",
        AllowAny = "ALLOW_ANY",
    }
}
