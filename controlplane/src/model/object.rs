//! Objects of the cluster as they reach the model.

use std::fmt;

use ironsail_crds::{DestinationRule, Gateway, PeerAuthentication, VirtualService};
use ironsail_mesh::mesh_config::MeshConfig;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// What the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    Service,
    EndpointSlice,
    Pod,
    Node,
    VirtualService,
    DestinationRule,
    Gateway,
    PeerAuthentication,
    Secret,
    MeshConfig,
}

impl ObjectKind {
    /// The Kubernetes kind; the mesh configuration has none and is called `MeshConfig`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Gateway => "Gateway",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::Secret => "Secret",
            Self::MeshConfig => "MeshConfig",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object as the API server has it. Boxed: most are large, and the model keeps only what it needs.
#[derive(Clone, Debug)]
pub enum Object {
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<Pod>),
    Node(Box<Node>),
    VirtualService(Box<VirtualService>),
    DestinationRule(Box<DestinationRule>),
    Gateway(Box<Gateway>),
    PeerAuthentication(Box<PeerAuthentication>),
    /// Key material for gateways; other Secrets are ignored by their content.
    Secret(Box<Secret>),
    /// The mesh document, already parsed; there is one.
    MeshConfig(Box<MeshConfig>),
}

/// One thing that happened to an object.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is there, new or different or the same.
    Upsert(Object),
    /// It is gone. Nodes have an empty namespace.
    Delete {
        kind: ObjectKind,
        namespace: String,
        name: String,
    },
}
