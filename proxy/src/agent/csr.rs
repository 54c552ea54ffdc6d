//! Keys and certificate signing requests ([RFC 2986](https://www.rfc-editor.org/rfc/rfc2986)).

use std::fmt;

use ironsail_mesh::identity::Identity;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize, SanType};

/// Kind of the workload's key. Default ECDSA P-256: smaller and faster than the peer's RSA 2048.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    #[default]
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// A new key and the request that names it.
pub struct SigningRequest {
    /// PKCS#8.
    key_pem: String,
    csr_pem: String,
}

/// Why no request could be made.
#[derive(Debug, thiserror::Error)]
#[error("signing request for {identity} cannot be made: {source}")]
pub struct CsrError {
    identity: String,
    #[source]
    source: rcgen::Error,
}

impl SigningRequest {
    /// Makes a key and a request with an empty subject and the identity as its only SAN.
    ///
    /// # Errors
    /// The identity is not ASCII, or no key can be generated.
    pub fn new(identity: &Identity, key_type: KeyType) -> Result<Self, CsrError> {
        let uri = identity.to_string();
        Self::generate(&uri, key_type).map_err(|source| CsrError {
            identity: uri,
            source,
        })
    }

    fn generate(uri: &str, key_type: KeyType) -> Result<Self, rcgen::Error> {
        let key = key_type.generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        Ok(Self {
            csr_pem: params.serialize_request(&key)?.pem()?,
            key_pem: key.serialize_pem(),
        })
    }

    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest").finish_non_exhaustive()
    }
}

impl KeyType {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        match self {
            KeyType::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

    #[test]
    fn the_identity_is_the_only_name() {
        let identity = Identity::new("cluster.local", "shop", "web");
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let request = SigningRequest::new(&identity, key_type).expect("generates");
            let (_, pem) =
                x509_parser::pem::parse_x509_pem(request.csr_pem().as_bytes()).expect("PEM");
            let (_, csr) = X509CertificationRequest::from_der(&pem.contents).expect("PKCS#10");
            assert_eq!(csr.certification_request_info.subject.iter().count(), 0);
            let names: Vec<String> = csr
                .requested_extensions()
                .into_iter()
                .flatten()
                .filter_map(|extension| match extension {
                    ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                    _ => None,
                })
                .flatten()
                .map(|name| match name {
                    GeneralName::URI(uri) => (*uri).to_owned(),
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(names, ["spiffe://cluster.local/ns/shop/sa/web"]);
            assert!(!format!("{request:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn an_identity_that_is_no_uri_is_refused() {
        let identity = Identity::new("clüster", "shop", "web");
        assert!(SigningRequest::new(&identity, KeyType::default()).is_err());
    }
}
