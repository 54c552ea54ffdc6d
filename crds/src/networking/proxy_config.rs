//! [ProxyConfig](https://istio.io/latest/docs/reference/config/networking/proxy-config/): how
//! proxies are started.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::security::peer_authentication::WorkloadSelector;
use crate::wire::wire;

/// A ProxyConfig object.
pub type ProxyConfig = Object<ProxyConfigSpec>;

impl Spec for ProxyConfigSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::PROXY_CONFIG;
}

wire! {
    /// How proxies are started.
    pub struct ProxyConfigSpec {
        /// Pods this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Worker threads; 0 is one per core.
        #[schemars(extend("nullable" = true, "minimum" = 0))]
        pub concurrency: Option<i32>,
        /// Environment of the proxy's container.
        #[schemars(extend("additionalProperties" = { "type": "string", "maxLength": 2048 }))]
        pub environment_variables: BTreeMap<String, String>,
        /// The proxy's image.
        pub image: Option<ProxyImage>,
    }

    /// The proxy's image.
    pub struct ProxyImage {
        /// `default`, `debug` or `distroless`.
        pub image_type: String,
    }
}
