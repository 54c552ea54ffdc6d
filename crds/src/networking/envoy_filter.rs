//! [EnvoyFilter](https://istio.io/latest/docs/reference/config/networking/envoy-filter/): patches
//! of what the control plane generates.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::networking::sidecar::WorkloadSelector;
use crate::object::{Object, Spec};
use crate::target_ref::PolicyTargetReference;
use crate::wire::{open_enum, wire};

/// An EnvoyFilter object.
pub type EnvoyFilter = Object<EnvoyFilterSpec>;

impl Spec for EnvoyFilterSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::ENVOY_FILTER;
}

wire! {
    /// Patches of what the control plane generates.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "(has(self.workloadSelector) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1",
        "message": "only one of targetRefs or workloadSelector can be set",
    }]))]
    pub struct EnvoyFilterSpec {
        /// Pods this is for; default is the whole namespace, in the root namespace the mesh.
        pub workload_selector: Option<WorkloadSelector>,
        /// Objects this is for.
        #[schemars(length(max = 16))]
        pub target_refs: Vec<PolicyTargetReference>,
        /// The patches, in order.
        pub config_patches: Vec<ConfigPatch>,
        /// Place among the filters of a namespace; lower is earlier.
        pub priority: i32,
    }

    /// A patch.
    pub struct ConfigPatch {
        /// What is patched.
        pub apply_to: ApplyTo,
        /// Which of them.
        #[serde(rename = "match")]
        pub matched: Option<ConfigMatch>,
        /// How.
        pub patch: Option<Patch>,
    }

    /// What a patch is for.
    #[schemars(extend(
        "oneOf" = crate::schema::one_of(&["listener", "routeConfiguration", "cluster", "waypoint"]),
        "x-kubernetes-validations" = [{
            "rule": "has(self.context) ? ((self.context == \"WAYPOINT\") ? has(self.waypoint) : !has(self.waypoint)) : !has(self.waypoint)",
            "message": "only support waypointMatch when context is WAYPOINT",
        }]
    ))]
    pub struct ConfigMatch {
        /// Kind of proxy and direction.
        pub context: PatchContext,
        /// Properties of the proxy.
        pub proxy: Option<ProxyMatch>,
        /// Properties of the listener.
        pub listener: Option<ListenerMatch>,
        /// Properties of the route table.
        pub route_configuration: Option<RouteConfigurationMatch>,
        /// Properties of the cluster.
        pub cluster: Option<ClusterMatch>,
        /// Properties within a waypoint.
        pub waypoint: Option<WaypointMatch>,
    }

    /// Properties of a proxy.
    pub struct ProxyMatch {
        /// RE2 expression for its version.
        pub proxy_version: String,
        /// Metadata that it announces.
        pub metadata: BTreeMap<String, String>,
    }

    /// Properties of a cluster.
    pub struct ClusterMatch {
        /// Port of the service.
        pub port_number: u32,
        /// Full name of the service.
        pub service: String,
        /// Subset.
        pub subset: String,
        /// Exact name.
        pub name: String,
    }

    /// Properties of a route table.
    pub struct RouteConfigurationMatch {
        /// Port of the service, or of the gateway's server.
        pub port_number: u32,
        /// Name of the gateway's port.
        pub port_name: String,
        /// Gateway as `namespace/name`.
        pub gateway: String,
        /// Virtual host.
        pub vhost: Option<VirtualHostMatch>,
        /// Exact name.
        pub name: String,
    }

    /// Properties of a virtual host.
    pub struct VirtualHostMatch {
        /// Name, `host:port`.
        pub name: String,
        /// One of its domains.
        pub domain_name: String,
        /// Route.
        pub route: Option<RouteMatch>,
    }

    /// Properties of a route.
    pub struct RouteMatch {
        /// Name.
        pub name: String,
        /// What it does.
        pub action: RouteAction,
    }

    /// Properties of a listener.
    pub struct ListenerMatch {
        /// Port.
        pub port_number: u32,
        /// Not used.
        pub port_name: String,
        /// Filter chain.
        pub filter_chain: Option<FilterChainMatch>,
        /// Name of a listener filter.
        pub listener_filter: String,
        /// Exact name.
        pub name: String,
    }

    /// Properties of a filter chain.
    pub struct FilterChainMatch {
        /// Name.
        pub name: String,
        /// Server name.
        pub sni: String,
        /// `raw_buffer` or `tls`.
        pub transport_protocol: String,
        /// Protocols of ALPN, comma-separated.
        pub application_protocols: String,
        /// Network filter.
        pub filter: Option<FilterMatch>,
        /// Port that the client asked for.
        pub destination_port: u32,
        /// Name of the transport socket.
        pub transport_socket: String,
    }

    /// A network filter.
    pub struct FilterMatch {
        /// Name.
        pub name: String,
        /// HTTP filter within it.
        pub sub_filter: Option<SubFilterMatch>,
    }

    /// An HTTP filter.
    pub struct SubFilterMatch {
        /// Name.
        pub name: String,
    }

    /// Properties within a waypoint.
    pub struct WaypointMatch {
        /// Port of the service.
        #[schemars(schema_with = "crate::schema::part::port")]
        pub port_number: Option<u32>,
        /// Network filter.
        pub filter: Option<FilterMatch>,
        /// Route.
        pub route: Option<WaypointRouteMatch>,
    }

    /// A route of a waypoint.
    pub struct WaypointRouteMatch {
        /// Name.
        pub name: String,
    }

    /// How something is patched.
    pub struct Patch {
        /// What is done with the value.
        pub operation: PatchOperation,
        /// The value, an Envoy message as JSON.
        pub value: Option<Map<String, Value>>,
        /// Place among the filters, for ADD.
        pub filter_class: FilterClass,
    }
}

open_enum! {
    /// What a patch is for.
    pub enum ApplyTo {
        Invalid = "INVALID",
        Listener = "LISTENER",
        FilterChain = "FILTER_CHAIN",
        NetworkFilter = "NETWORK_FILTER",
        HttpFilter = "HTTP_FILTER",
        RouteConfiguration = "ROUTE_CONFIGURATION",
        VirtualHost = "VIRTUAL_HOST",
        HttpRoute = "HTTP_ROUTE",
        Cluster = "CLUSTER",
        ExtensionConfig = "EXTENSION_CONFIG",
        Bootstrap = "BOOTSTRAP",
        ListenerFilter = "LISTENER_FILTER",
    }

    /// Kind of proxy and direction.
    pub enum PatchContext {
        Any = "ANY",
        SidecarInbound = "SIDECAR_INBOUND",
        SidecarOutbound = "SIDECAR_OUTBOUND",
        Gateway = "GATEWAY",
        Waypoint = "WAYPOINT",
    }

    /// What a route does.
    pub enum RouteAction {
        Any = "ANY",
        Route = "ROUTE",
        Redirect = "REDIRECT",
        DirectResponse = "DIRECT_RESPONSE",
    }

    /// What is done with the value.
    pub enum PatchOperation {
        Invalid = "INVALID",
        Merge = "MERGE",
        Add = "ADD",
        Remove = "REMOVE",
        InsertBefore = "INSERT_BEFORE",
        InsertAfter = "INSERT_AFTER",
        InsertFirst = "INSERT_FIRST",
        Replace = "REPLACE",
        MergeAndReplaceList = "MERGE_AND_REPLACE_LIST",
    }

    /// Place among the filters.
    pub enum FilterClass {
        Unspecified = "UNSPECIFIED",
        Authn = "AUTHN",
        Authz = "AUTHZ",
        Stats = "STATS",
    }
}
