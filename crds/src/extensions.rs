//! API group `extensions.istio.io`.

pub mod traffic_extension;
pub mod wasm_plugin;
