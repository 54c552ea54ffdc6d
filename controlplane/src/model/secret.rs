//! Key material for gateways, from Secrets of Kubernetes.

use std::fmt;

use bytes::Bytes;

/// Certificates and key of one Secret, PEM as stored.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsSecret {
    pub certificate: Option<Bytes>,
    pub private_key: Option<Bytes>,
    /// Authorities that client certificates are verified with.
    pub ca_certificate: Option<Bytes>,
    /// Revocation list for client certificates.
    pub revocation_list: Option<Bytes>,
}

impl fmt::Debug for TlsSecret {
    /// Says what is there, never what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSecret")
            .field("certificate", &self.certificate.is_some())
            .field("private_key", &self.private_key.is_some())
            .field("ca_certificate", &self.ca_certificate.is_some())
            .field("revocation_list", &self.revocation_list.is_some())
            .finish()
    }
}
