//! [WorkloadGroup](https://istio.io/latest/docs/reference/config/networking/workload-group/):
//! what WorkloadEntries that register themselves look like.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::networking::workload_entry::WorkloadEntrySpec;
use crate::object::{Object, Spec};
use crate::wire::wire;

/// A WorkloadGroup object.
pub type WorkloadGroup = Object<WorkloadGroupSpec>;

impl Spec for WorkloadGroupSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::WORKLOAD_GROUP;
}

wire! {
    /// What WorkloadEntries that register themselves look like.
    #[schemars(extend("required" = ["template"]))]
    pub struct WorkloadGroupSpec {
        /// Labels and annotations of the entries.
        pub metadata: Option<GroupMetadata>,
        /// The entries; their addresses come from the workloads.
        #[schemars(extend("x-kubernetes-validations" = [crate::schema::part::no_socket_ports()]))]
        pub template: Option<WorkloadEntrySpec>,
        /// How the health of the workloads is checked.
        pub probe: Option<ReadinessProbe>,
    }

    /// Labels and annotations.
    pub struct GroupMetadata {
        /// Labels.
        #[schemars(extend("maxProperties" = 256))]
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        #[schemars(extend("maxProperties" = 256))]
        pub annotations: BTreeMap<String, String>,
    }

    /// A check of health.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["httpGet", "tcpSocket", "exec", "grpc"])))]
    pub struct ReadinessProbe {
        /// Pause before the first check; default 0.
        #[schemars(range(min = 0))]
        pub initial_delay_seconds: i32,
        /// Limit of a check; default 1.
        #[schemars(range(min = 0))]
        pub timeout_seconds: i32,
        /// Time between checks; default 10.
        #[schemars(range(min = 0))]
        pub period_seconds: i32,
        /// Successes in a row that make it healthy; default 1.
        #[schemars(range(min = 0))]
        pub success_threshold: i32,
        /// Failures in a row that make it unhealthy; default 3.
        #[schemars(range(min = 0))]
        pub failure_threshold: i32,
        /// An HTTP answer of 200 to 399.
        pub http_get: Option<HttpHealthCheck>,
        /// A connection.
        pub tcp_socket: Option<TcpHealthCheck>,
        /// A command that ends with 0.
        pub exec: Option<ExecHealthCheck>,
        /// The gRPC health service.
        pub grpc: Option<GrpcHealthCheck>,
    }

    /// An HTTP answer of 200 to 399.
    #[schemars(extend("required" = ["port"]))]
    pub struct HttpHealthCheck {
        /// Path.
        pub path: String,
        /// Port.
        #[schemars(schema_with = "crate::schema::part::port")]
        pub port: u32,
        /// Host to connect to.
        pub host: String,
        /// HTTP or HTTPS.
        #[schemars(extend("x-kubernetes-validations" = [{
            "rule": "self in [\"\", \"HTTP\", \"HTTPS\"]",
            "message": "scheme must be one of [HTTP, HTTPS]",
        }]))]
        pub scheme: String,
        /// Headers to send.
        pub http_headers: Vec<HttpHeader>,
    }

    /// A header.
    pub struct HttpHeader {
        /// Name.
        #[schemars(extend("pattern" = "^[-_A-Za-z0-9]+$"))]
        pub name: String,
        /// Value.
        pub value: String,
    }

    /// A connection.
    #[schemars(extend("required" = ["port"]))]
    pub struct TcpHealthCheck {
        /// Host to connect to.
        pub host: String,
        /// Port.
        #[schemars(schema_with = "crate::schema::part::port")]
        pub port: u32,
    }

    /// A command that ends with 0.
    #[schemars(extend("required" = ["command"]))]
    pub struct ExecHealthCheck {
        /// Program and arguments; no shell.
        #[schemars(inner(length(min = 1)))]
        pub command: Vec<String>,
    }

    /// The gRPC health service.
    pub struct GrpcHealthCheck {
        /// Port.
        #[schemars(schema_with = "crate::schema::part::port")]
        pub port: Option<u32>,
        /// Service to ask for; default is the whole server.
        pub service: String,
    }
}
