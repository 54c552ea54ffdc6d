//! [ServiceEntry](https://istio.io/latest/docs/reference/config/networking/service-entry/):
//! services that the cluster doesn't know of itself.

use crate::condition::{MeshCondition, ValidationMessage};
use crate::kind::{self, Kind};
use crate::networking::sidecar::WorkloadSelector;
use crate::networking::workload_entry::WorkloadEntrySpec;
use crate::object::{Object, Spec};
use crate::wire::{open_enum, wire};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A ServiceEntry object.
pub type ServiceEntry = Object<ServiceEntrySpec>;

impl Spec for ServiceEntrySpec {
    type Status = ServiceEntryStatus;
    const KIND: &'static Kind = &kind::SERVICE_ENTRY;
}

wire! {
    /// Services beside those of the cluster.
    #[schemars(extend("required" = ["hosts"], "x-kubernetes-validations" = [
        {
            "rule": "(has(self.workloadSelector) ? 1 : 0) + (has(self.endpoints) ? 1 : 0) <= 1",
            "message": "only one of WorkloadSelector or Endpoints can be set",
        },
        {
            "rule": "!((has(self.addresses) ? self.addresses : []).exists(k, k.contains(\"/\")) && !((has(self.resolution) ? self.resolution : \"NONE\") in [\"STATIC\", \"NONE\"]))",
            "message": "CIDR addresses are allowed only for NONE/STATIC resolution types",
        },
        {
            "rule": "((has(self.resolution) ? self.resolution : \"NONE\") == \"NONE\") ? !has(self.endpoints) : true",
            "message": "NONE mode cannot set endpoints",
        },
        {
            "rule": "((has(self.resolution) ? self.resolution : \"\") == \"DNS_ROUND_ROBIN\") ? ((has(self.endpoints) ? self.endpoints : []).size() <= 1) : true",
            "message": "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
        },
    ]))]
    pub struct ServiceEntrySpec {
        /// Names of the service, with `*` for a first label.
        #[schemars(schema_with = "crate::schema::part::service_hosts")]
        pub hosts: Vec<String>,
        /// Virtual addresses or CIDR ranges.
        #[schemars(length(max = 256), inner(length(max = 64)))]
        pub addresses: Vec<String>,
        /// Ports of the service.
        #[schemars(
            length(max = 256),
            extend(
                "x-kubernetes-list-type" = "map",
                "x-kubernetes-list-map-keys" = ["name"],
                "x-kubernetes-validations" = [{
                    "rule": "self.all(l1, self.exists_one(l2, l1.number == l2.number))",
                    "message": "port number cannot be duplicated",
                }]
            )
        )]
        pub ports: Vec<ServicePort>,
        /// Whether it counts as a part of the mesh.
        pub location: ServiceLocation,
        /// How endpoints are found.
        pub resolution: Resolution,
        /// Endpoints; not together with a workloadSelector.
        #[schemars(length(max = 4096))]
        pub endpoints: Vec<WorkloadEntrySpec>,
        /// Pods and WorkloadEntries that are its endpoints.
        pub workload_selector: Option<WorkloadSelector>,
        /// Namespaces that see this: `.`, `*`, `~` or names; empty means the mesh default.
        pub export_to: Vec<String>,
        /// Names that the server certificate may carry.
        pub subject_alt_names: Vec<String>,
    }

    /// A port of a service.
    #[schemars(extend("required" = ["number", "name"]))]
    pub struct ServicePort {
        /// Port number, 1 to 65535.
        #[schemars(schema_with = "crate::schema::part::port")]
        pub number: u32,
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.
        #[schemars(length(max = 256))]
        pub protocol: String,
        /// Name.
        #[schemars(length(max = 256))]
        pub name: String,
        /// Port of the endpoints, if it is another.
        #[schemars(schema_with = "crate::schema::part::port")]
        pub target_port: Option<u32>,
    }

    /// What the control plane reports about a ServiceEntry.
    pub struct ServiceEntryStatus {
        /// Current state, one entry per type.
        pub conditions: Vec<MeshCondition>,
        /// Findings of the analyzers.
        pub validation_messages: Vec<ValidationMessage>,
        /// Generation that the status is about.
        #[schemars(schema_with = "crate::schema::int_or_string")]
        pub observed_generation: Option<IntOrString>,
        /// Addresses given to hosts that have none of their own; kept by the definition without
        /// being part of its schema.
        #[schemars(skip)]
        pub addresses: Vec<ServiceEntryAddress>,
    }

    /// An address given to a host.
    pub struct ServiceEntryAddress {
        /// The address.
        pub value: String,
        /// The host.
        pub host: String,
    }
}

open_enum! {
    /// Whether a service counts as a part of the mesh.
    pub enum ServiceLocation {
        MeshExternal = "MESH_EXTERNAL",
        MeshInternal = "MESH_INTERNAL",
    }

    /// How the endpoints of a service are found.
    pub enum Resolution {
        /// The address that the client asked for.
        None = "NONE",
        /// The given endpoints.
        Static = "STATIC",
        /// All addresses of a name.
        Dns = "DNS",
        /// The first address of a name, asked for at each connection.
        DnsRoundRobin = "DNS_ROUND_ROBIN",
        /// The name that the request carries.
        DynamicDns = "DYNAMIC_DNS",
    }
}
