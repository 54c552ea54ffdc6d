//! [WorkloadEntry](https://istio.io/latest/docs/reference/config/networking/workload-entry/):
//! a workload that is no pod.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::schema::part;
use crate::wire::wire;

/// A WorkloadEntry object.
pub type WorkloadEntry = Object<WorkloadEntrySpec>;

impl Spec for WorkloadEntrySpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::WORKLOAD_ENTRY;
}

wire! {
    /// A workload that is no pod, also as an endpoint of a ServiceEntry.
    #[schemars(extend("x-kubernetes-validations" = rules()))]
    pub struct WorkloadEntrySpec {
        /// IP address, DNS name or `unix://` and an absolute path.
        #[schemars(length(max = 256), extend("x-kubernetes-validations" = part::socket_path_rules()))]
        pub address: String,
        /// Ports by the names that the service gives them.
        #[schemars(schema_with = "crate::schema::part::named_ports")]
        pub ports: BTreeMap<String, u32>,
        /// Labels.
        #[schemars(extend("maxProperties" = 256))]
        pub labels: BTreeMap<String, String>,
        /// Network that it is in.
        #[schemars(length(max = 2048))]
        pub network: String,
        /// `region/zone/sub-zone`.
        #[schemars(length(max = 2048))]
        pub locality: String,
        /// Share of the traffic relative to the other endpoints.
        pub weight: u32,
        /// Service account that it runs as.
        #[schemars(length(max = 253))]
        pub service_account: String,
    }
}

fn rules() -> Value {
    json!([
        {
            "rule": "has(self.address) || has(self.network)",
            "message": "Address is required",
        },
        part::no_socket_ports(),
    ])
}
