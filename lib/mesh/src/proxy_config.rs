//! Settings of one proxy: mesh default, `PROXY_CONFIG`, annotation `proxy.istio.io/config`.
//! <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mesh_config::non_empty;

/// Absent fields have the peer's defaults, unknown fields are kept in `other`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_address: Option<String>,
    /// Worker threads; 0 means one per core, absent means by CPU limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Duration text; default `45s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_duration: Option<String>,
    /// Duration text; default `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_drain_duration: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_admin_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_application_until_proxy_starts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl ProxyConfig {
    /// Address of the control plane, `istiod.istio-system.svc:15012` unless set.
    pub fn discovery_address(&self) -> &str {
        non_empty(&self.discovery_address).unwrap_or("istiod.istio-system.svc:15012")
    }

    /// Port of readiness, probes and merged metrics; default 15020.
    pub fn status_port(&self) -> u16 {
        self.status_port.unwrap_or(15020)
    }

    /// Port of the admin API; default 15000.
    pub fn proxy_admin_port(&self) -> u16 {
        self.proxy_admin_port.unwrap_or(15000)
    }

    pub fn hold_application_until_proxy_starts(&self) -> bool {
        self.hold_application_until_proxy_starts.unwrap_or(false)
    }
}

/// Lays `over` onto `base`: objects merge key by key, everything else is replaced, lists too.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_replaces_lists_and_keeps_other_keys() {
        let mut base = json!({"a": {"x": 1, "l": [1, 2]}, "b": 1});
        merge(&mut base, json!({"a": {"l": [3]}, "c": null}));
        assert_eq!(base, json!({"a": {"x": 1, "l": [3]}, "b": 1, "c": null}));
    }
}
