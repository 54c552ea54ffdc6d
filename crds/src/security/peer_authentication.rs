//! [PeerAuthentication](https://istio.io/latest/docs/reference/config/security/peer_authentication/):
//! whether workloads accept plaintext.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::wire::{open_enum, wire};

/// A PeerAuthentication object.
pub type PeerAuthentication = Object<PeerAuthenticationSpec>;

impl Spec for PeerAuthenticationSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::PEER_AUTHENTICATION;
}

wire! {
    /// Whether workloads accept plaintext.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "has(self.portLevelMtls) ? (((has(self.selector) && has(self.selector.matchLabels)) ? self.selector.matchLabels : {}).size() > 0) : true",
        "message": "portLevelMtls requires selector",
    }]))]
    pub struct PeerAuthenticationSpec {
        /// Workloads this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Mode of all ports.
        pub mtls: Option<MutualTls>,
        /// Modes by workload port.
        #[schemars(extend(
            "minProperties" = 1,
            "x-kubernetes-validations" = [{
                "rule": "self.all(key, 0 < int(key) && int(key) <= 65535)",
                "message": "port must be between 1-65535",
            }]
        ))]
        pub port_level_mtls: BTreeMap<String, MutualTls>,
    }

    /// Mutual TLS of a port.
    pub struct MutualTls {
        /// What is accepted.
        pub mode: MutualTlsMode,
    }

    /// Pods by labels.
    pub struct WorkloadSelector {
        /// Labels that a pod must have.
        #[schemars(schema_with = "crate::schema::match_labels")]
        pub match_labels: BTreeMap<String, String>,
    }
}

open_enum! {
    /// What a workload accepts.
    pub enum MutualTlsMode {
        /// As the next wider policy says.
        Unset = "UNSET",
        /// Plaintext.
        Disable = "DISABLE",
        /// Both.
        Permissive = "PERMISSIVE",
        /// Mutual TLS.
        Strict = "STRICT",
    }
}

impl PeerAuthenticationSpec {
    /// The mode of all ports; absent counts as [`MutualTlsMode::Unset`].
    #[must_use]
    pub fn mode(&self) -> &MutualTlsMode {
        self.mtls
            .as_ref()
            .map_or(&MutualTlsMode::Unset, |mtls| &mtls.mode)
    }
}
