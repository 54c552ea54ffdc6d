//! API group `telemetry.istio.io`:
//! [Telemetry](https://istio.io/latest/docs/reference/config/telemetry/), what is measured,
//! traced and logged.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::security::peer_authentication::WorkloadSelector;
use crate::target_ref::PolicyTargetReference;
use crate::wire::{DurationString, open_enum, wire};

/// A Telemetry object.
pub type Telemetry = Object<TelemetrySpec>;

impl Spec for TelemetrySpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::TELEMETRY;
}

wire! {
    /// What is measured, traced and logged.
    #[schemars(extend("x-kubernetes-validations" =
        crate::schema::part::one_target(&["selector", "targetRef", "targetRefs"])))]
    pub struct TelemetrySpec {
        /// Workloads this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Deprecated, use targetRefs.
        pub target_ref: Option<PolicyTargetReference>,
        /// Objects this is for.
        #[schemars(length(max = 16))]
        pub target_refs: Vec<PolicyTargetReference>,
        /// Tracing.
        pub tracing: Vec<Tracing>,
        /// Metrics.
        pub metrics: Vec<Metrics>,
        /// Access logs.
        pub access_logging: Vec<AccessLogging>,
    }

    /// Tracing.
    pub struct Tracing {
        /// Direction this is for.
        #[serde(rename = "match")]
        pub matched: Option<TracingSelector>,
        /// Providers of the mesh configuration; one is used.
        pub providers: Vec<ProviderRef>,
        /// Share of requests that are traced, in percent.
        #[schemars(extend("nullable" = true, "minimum" = 0, "maximum" = 100))]
        pub random_sampling_percentage: Option<f64>,
        /// Report no spans, but pass the context on.
        #[schemars(extend("nullable" = true))]
        pub disable_span_reporting: Option<bool>,
        /// Don't pass the context on.
        #[schemars(extend("nullable" = true))]
        pub disable_context_propagation: Option<bool>,
        /// Further tags of the spans.
        pub custom_tags: BTreeMap<String, CustomTag>,
        /// Whether x-request-id decides what is traced; default true.
        #[schemars(extend("nullable" = true))]
        pub use_request_id_for_trace_sampling: Option<bool>,
        /// Tags with mesh properties; default true.
        #[schemars(extend("nullable" = true))]
        pub enable_istio_tags: Option<bool>,
    }

    /// What tracing is for.
    pub struct TracingSelector {
        /// Direction.
        pub mode: WorkloadMode,
    }

    /// A provider of the mesh configuration.
    #[schemars(extend("required" = ["name"]))]
    pub struct ProviderRef {
        /// Its name.
        #[schemars(length(min = 1))]
        pub name: String,
    }

    /// A tag of spans.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["literal", "environment", "header", "formatter"])))]
    pub struct CustomTag {
        /// Always the same.
        pub literal: Option<LiteralTag>,
        /// From an environment variable of the proxy.
        pub environment: Option<NamedTag>,
        /// From a header of the request.
        pub header: Option<NamedTag>,
        /// In the format of access logs.
        pub formatter: Option<LiteralTag>,
    }

    /// A value.
    #[schemars(extend("required" = ["value"]))]
    pub struct LiteralTag {
        /// The value.
        #[schemars(length(min = 1))]
        pub value: String,
    }

    /// Where a value comes from.
    #[schemars(extend("required" = ["name"]))]
    pub struct NamedTag {
        /// Name.
        #[schemars(length(min = 1))]
        pub name: String,
        /// The value if there is none.
        pub default_value: String,
    }

    /// Metrics.
    pub struct Metrics {
        /// Providers of the mesh configuration.
        pub providers: Vec<ProviderRef>,
        /// Changes of single metrics, in order.
        pub overrides: Vec<MetricsOverrides>,
        /// How often TCP metrics are reported.
        pub reporting_interval: Option<DurationString>,
    }

    /// A change of metrics.
    pub struct MetricsOverrides {
        /// Metrics this is for; default is all.
        #[serde(rename = "match")]
        pub matched: Option<MetricSelector>,
        /// Turns them off or on.
        #[schemars(extend("nullable" = true))]
        pub disabled: Option<bool>,
        /// Changes of labels by name.
        pub tag_overrides: BTreeMap<String, TagOverride>,
    }

    /// Metrics by name and direction.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["metric", "customMetric"])))]
    pub struct MetricSelector {
        /// Name of one of the standard metrics.
        pub metric: Option<StandardMetric>,
        /// Name of another metric.
        #[schemars(length(min = 1))]
        pub custom_metric: Option<String>,
        /// Direction.
        pub mode: WorkloadMode,
    }

    /// A change of a label.
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "((has(self.operation) ? self.operation : \"\") == \"UPSERT\") ? (self.value != \"\") : true",
            "message": "value must be set when operation is UPSERT",
        },
        {
            "rule": "((has(self.operation) ? self.operation : \"\") == \"REMOVE\") ? !has(self.value) : true",
            "message": "value must not be set when operation is REMOVE",
        },
    ]))]
    pub struct TagOverride {
        /// What is done.
        pub operation: TagOperation,
        /// CEL expression of the new value.
        pub value: String,
    }

    /// Access logs.
    pub struct AccessLogging {
        /// Direction this is for.
        #[serde(rename = "match")]
        pub matched: Option<LogSelector>,
        /// Providers of the mesh configuration.
        pub providers: Vec<ProviderRef>,
        /// Turns it off.
        #[schemars(extend("nullable" = true))]
        pub disabled: Option<bool>,
        /// What is logged.
        pub filter: Option<LogFilter>,
    }

    /// What access logs are for.
    pub struct LogSelector {
        /// Direction.
        pub mode: WorkloadMode,
    }

    /// What is logged.
    pub struct LogFilter {
        /// CEL expression, such as `response.code >= 400`.
        pub expression: String,
    }
}

open_enum! {
    /// Direction of traffic, as the workload sees it.
    pub enum WorkloadMode {
        ClientAndServer = "CLIENT_AND_SERVER",
        Client = "CLIENT",
        Server = "SERVER",
    }

    /// Metrics that every proxy has.
    pub enum StandardMetric {
        AllMetrics = "ALL_METRICS",
        RequestCount = "REQUEST_COUNT",
        RequestDuration = "REQUEST_DURATION",
        RequestSize = "REQUEST_SIZE",
        ResponseSize = "RESPONSE_SIZE",
        TcpOpenedConnections = "TCP_OPENED_CONNECTIONS",
        TcpClosedConnections = "TCP_CLOSED_CONNECTIONS",
        TcpSentBytes = "TCP_SENT_BYTES",
        TcpReceivedBytes = "TCP_RECEIVED_BYTES",
        GrpcRequestMessages = "GRPC_REQUEST_MESSAGES",
        GrpcResponseMessages = "GRPC_RESPONSE_MESSAGES",
    }

    /// What is done with a label.
    pub enum TagOperation {
        Upsert = "UPSERT",
        Remove = "REMOVE",
    }
}
