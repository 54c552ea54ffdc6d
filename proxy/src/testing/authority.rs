//! Certificates made in memory.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

use crate::transport_socket::secret::WorkloadCertificate;

/// A certificate authority in memory.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("valid parameters").pem();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// A workload with this SPIFFE identity that trusts this authority.
    pub(crate) fn workload(&self, identity: &str) -> WorkloadCertificate {
        self.issue(identity, |_| ())
    }

    pub(crate) fn issue(
        &self,
        identity: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> WorkloadCertificate {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::default();
        let uri = identity.try_into().expect("an ASCII text");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("valid parameters");
        WorkloadCertificate::from_pem(
            certificate.pem().as_bytes(),
            key.serialize_pem().as_bytes(),
            self.root.as_bytes(),
        )
        .expect("just made")
    }
}
