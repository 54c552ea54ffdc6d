//! [TrafficExtension](https://istio.io/latest/docs/reference/config/proxy_extensions/): WebAssembly
//! modules or Lua code in proxies.

use serde_json::{Map, Value};

use crate::condition::MeshStatus;
use crate::extensions::wasm_plugin::{
    FailStrategy, PluginType, PullPolicy, TrafficSelector, VmConfig,
};
use crate::kind::{self, Kind};
use crate::networking::envoy_filter::FilterClass;
use crate::object::{Object, Spec};
use crate::schema::part;
use crate::security::peer_authentication::WorkloadSelector;
use crate::target_ref::PolicyTargetReference;
use crate::wire::wire;

/// A TrafficExtension object.
pub type TrafficExtension = Object<TrafficExtensionSpec>;

impl Spec for TrafficExtensionSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::TRAFFIC_EXTENSION;
}

wire! {
    /// A WebAssembly module or Lua code in proxies.
    #[schemars(extend(
        "oneOf" = crate::schema::one_of(&["wasm", "lua"]),
        "x-kubernetes-validations" = rules()
    ))]
    pub struct TrafficExtensionSpec {
        /// Workloads this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Objects this is for.
        #[schemars(length(max = 16))]
        pub target_refs: Vec<PolicyTargetReference>,
        /// Place among the filters.
        pub phase: FilterClass,
        /// Place within the phase; higher is earlier.
        #[schemars(extend("nullable" = true))]
        pub priority: Option<i32>,
        /// Traffic this is for.
        #[serde(rename = "match")]
        pub matches: Vec<TrafficSelector>,
        /// A WebAssembly module.
        pub wasm: Option<WasmConfig>,
        /// Lua code.
        pub lua: Option<LuaConfig>,
    }

    /// A WebAssembly module.
    #[schemars(extend("required" = ["url"]))]
    pub struct WasmConfig {
        /// Where the module is: `oci://` (default), `http://`, `https://` or `file://`.
        #[schemars(
            length(min = 1),
            extend("x-kubernetes-validations" =
                part::module_url_rules(r#""", "http", "https", "file", "oci""#))
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
        /// What happens when the module fails.
        pub fail_strategy: FailStrategy,
        /// Environment of the module.
        pub vm_config: Option<VmConfig>,
        /// Kind of filter; default is HTTP.
        pub r#type: PluginType,
    }

    /// Lua code.
    #[schemars(extend("required" = ["inlineCode"]))]
    pub struct LuaConfig {
        /// The code, at most 64 KiB.
        #[schemars(length(min = 1, max = 65536))]
        pub inline_code: String,
    }
}

fn rules() -> Value {
    let mut rules = part::one_target(&["selector", "targetRefs"]);
    if let Value::Array(rules) = &mut rules {
        rules.push(serde_json::json!({
            "rule": "has(self.wasm) != has(self.lua)",
            "message": "exactly one of wasm or lua must be set",
        }));
    }
    rules
}
