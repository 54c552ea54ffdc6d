//! Secrets of Kubernetes as key material.

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;

use crate::model::secret::TlsSecret;

/// Reads the keys `tls.crt`, `tls.key`, `ca.crt`, `ca.crl`, or their older names `cert`, `key`,
/// `cacert`, `crl`; `None` when the Secret holds none of them.
pub fn convert(object: &Secret) -> Option<TlsSecret> {
    let data = object.data.as_ref()?;
    let first = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| data.get(name).filter(|value| !value.0.is_empty()))
            .map(|value| Bytes::copy_from_slice(&value.0))
    };
    let secret = TlsSecret {
        certificate: first(["tls.crt", "cert"]),
        private_key: first(["tls.key", "key"]),
        ca_certificate: first(["ca.crt", "cacert"]),
        revocation_list: first(["ca.crl", "crl"]),
    };
    (secret != TlsSecret::default()).then_some(secret)
}
