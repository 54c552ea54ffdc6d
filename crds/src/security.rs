//! API group `security.istio.io`.

pub mod peer_authentication;
