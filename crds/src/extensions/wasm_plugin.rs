//! [WasmPlugin](https://istio.io/latest/docs/reference/config/proxy_extensions/wasm-plugin/):
//! WebAssembly modules in proxies.

use serde_json::{Map, Value};

use crate::condition::MeshStatus;
use crate::extensions::traffic_extension::WasmConfig;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::schema::part;
use crate::security::peer_authentication::WorkloadSelector;
use crate::target_ref::PolicyTargetReference;
use crate::wire::{open_enum, wire};

/// A WasmPlugin object.
pub type WasmPlugin = Object<WasmPluginSpec>;

impl Spec for WasmPluginSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::WASM_PLUGIN;
}

wire! {
    /// A WebAssembly module in proxies.
    #[schemars(extend(
        "required" = ["url"],
        "x-kubernetes-validations" = part::one_target(&["selector", "targetRef", "targetRefs"])
    ))]
    pub struct WasmPluginSpec {
        /// Workloads this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Deprecated, use targetRefs.
        pub target_ref: Option<PolicyTargetReference>,
        /// Objects this is for.
        #[schemars(length(max = 16))]
        pub target_refs: Vec<PolicyTargetReference>,
        /// Where the module is: `oci://` (default), `http://`, `https://` or `file://`.
        #[schemars(
            length(min = 1),
            extend("x-kubernetes-validations" =
                part::module_url_rules(r#""", "http", "https", "oci", "file""#))
        )]
        pub url: String,
        /// SHA-256 that the module must have, in hex.
        #[schemars(extend("pattern" = "(^$|^[a-f0-9]{64}$)"))]
        pub sha256: String,
        /// When the module is fetched.
        pub image_pull_policy: PullPolicy,
        /// Secret of this namespace for fetching.
        #[schemars(length(min = 1, max = 253))]
        pub image_pull_secret: String,
        /// Not used.
        pub verification_key: String,
        /// Configuration of the module.
        pub plugin_config: Option<Map<String, Value>>,
        /// Name within the module.
        #[schemars(length(min = 1, max = 256))]
        pub plugin_name: String,
        /// Place among the filters.
        pub phase: PluginPhase,
        /// Place within the phase; higher is earlier.
        #[schemars(extend("nullable" = true))]
        pub priority: Option<i32>,
        /// What happens when the module fails.
        pub fail_strategy: FailStrategy,
        /// Environment of the module.
        pub vm_config: Option<VmConfig>,
        /// Traffic this is for.
        #[serde(rename = "match")]
        pub matches: Vec<TrafficSelector>,
        /// Kind of filter; default is HTTP.
        pub r#type: PluginType,
    }

    /// Traffic by direction and port.
    pub struct TrafficSelector {
        /// Direction.
        pub mode: TrafficMode,
        /// Ports; none is every port.
        #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
        pub ports: Vec<TrafficPort>,
    }

    /// A port.
    #[schemars(extend("required" = ["number"]))]
    pub struct TrafficPort {
        /// Port number, 1 to 65535.
        #[schemars(range(min = 1, max = 65535))]
        pub number: u32,
    }

    /// Environment of a module.
    pub struct VmConfig {
        /// Environment variables.
        #[schemars(
            length(max = 256),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
        )]
        pub env: Vec<VmEnvVar>,
    }

    /// An environment variable.
    #[schemars(extend("required" = ["name"], "x-kubernetes-validations" = [{
        "rule": "(has(self.valueFrom) ? self.valueFrom : \"\") != \"HOST\" || !has(self.value)",
        "message": "value may only be set when valueFrom is INLINE",
    }]))]
    pub struct VmEnvVar {
        /// Name.
        #[schemars(length(min = 1, max = 256))]
        pub name: String,
        /// Where the value comes from.
        pub value_from: EnvValueSource,
        /// The value, for INLINE.
        #[schemars(length(max = 2048))]
        pub value: String,
    }
}

open_enum! {
    /// When a module is fetched.
    pub enum PullPolicy {
        Unspecified = "UNSPECIFIED_POLICY",
        IfNotPresent = "IfNotPresent",
        Always = "Always",
    }

    /// Place among the filters.
    pub enum PluginPhase {
        Unspecified = "UNSPECIFIED_PHASE",
        Authn = "AUTHN",
        Authz = "AUTHZ",
        Stats = "STATS",
    }

    /// What happens when a module fails.
    pub enum FailStrategy {
        FailClose = "FAIL_CLOSE",
        FailOpen = "FAIL_OPEN",
        FailReload = "FAIL_RELOAD",
    }

    /// Kind of filter.
    pub enum PluginType {
        Unspecified = "UNSPECIFIED_PLUGIN_TYPE",
        Http = "HTTP",
        Network = "NETWORK",
    }

    /// Direction of traffic, as the workload sees it.
    pub enum TrafficMode {
        Undefined = "UNDEFINED",
        Client = "CLIENT",
        Server = "SERVER",
        ClientAndServer = "CLIENT_AND_SERVER",
    }

    /// Where the value of an environment variable comes from.
    pub enum EnvValueSource {
        Inline = "INLINE",
        Host = "HOST",
    }
}

impl WasmPluginSpec {
    /// The module, as a TrafficExtension has it.
    #[must_use]
    pub fn wasm(&self) -> WasmConfig {
        let plugin = self.clone();
        WasmConfig {
            url: plugin.url,
            sha256: plugin.sha256,
            image_pull_policy: plugin.image_pull_policy,
            image_pull_secret: plugin.image_pull_secret,
            verification_key: plugin.verification_key,
            plugin_config: plugin.plugin_config,
            plugin_name: plugin.plugin_name,
            fail_strategy: plugin.fail_strategy,
            vm_config: plugin.vm_config,
            r#type: plugin.r#type,
        }
    }
}
