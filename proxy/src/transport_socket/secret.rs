//! Certificates, keys and roots, ready for handshakes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use webpki::OwnedCertRevocationList;

/// Why a secret cannot be used. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("certificate chain is not PEM: {0}")]
    Chain(String),
    #[error("certificate chain is empty")]
    EmptyChain,
    #[error("private key is not PEM: {0}")]
    Key(String),
    #[error("private key is of no supported kind: {0}")]
    UnsupportedKey(String),
    #[error("private key does not belong to the certificate")]
    Mismatch,
    #[error("root certificates are not PEM: {0}")]
    Roots(String),
    #[error("no root certificate is usable")]
    NoRoots,
    #[error("revocation list is not usable: {0}")]
    Crl(String),
}

/// A certificate chain and its key.
pub struct CertificateKey {
    pub certified: Arc<CertifiedKey>,
    /// URI SANs of the leaf.
    pub uri_sans: Arc<[Arc<str>]>,
}

impl CertificateKey {
    /// Reads PEM: the chain with the leaf first, and the key.
    ///
    /// # Errors
    /// Either is unreadable, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, SecretError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| SecretError::Chain(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| SecretError::Key(error.to_string()))?;
        Self::from_der(chain, &key)
    }

    /// # Errors
    /// As [`CertificateKey::from_pem`].
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, SecretError> {
        let leaf = chain.first().ok_or(SecretError::EmptyChain)?;
        let uri_sans = super::verify::uri_sans(leaf);
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)
            .map_err(|error| SecretError::UnsupportedKey(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| SecretError::Mismatch)?;
        Ok(Self {
            certified: Arc::new(certified),
            uri_sans: uri_sans.into(),
        })
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateKey")
            .field("uri_sans", &self.uri_sans)
            .finish_non_exhaustive()
    }
}

/// Roots that certificates are verified against, and what was revoked.
pub struct TrustBundle {
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
    pub(crate) crls: Vec<OwnedCertRevocationList>,
}

impl TrustBundle {
    /// Reads PEM roots and, when not empty, PEM revocation lists.
    ///
    /// # Errors
    /// Nothing usable is in `roots`, or a list is unreadable.
    pub fn from_pem(roots: &[u8], crls: &[u8]) -> Result<Self, SecretError> {
        let roots = CertificateDer::pem_slice_iter(roots)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| SecretError::Roots(error.to_string()))?;
        let crls = CertificateRevocationListDer::pem_slice_iter(crls)
            .map(|der| {
                let der = der.map_err(|error| SecretError::Crl(error.to_string()))?;
                OwnedCertRevocationList::from_der(&der)
                    .map_err(|error| SecretError::Crl(error.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(&roots, crls)
    }

    fn new(
        roots: &[CertificateDer<'_>],
        crls: Vec<OwnedCertRevocationList>,
    ) -> Result<Self, SecretError> {
        // One unusable root among others must not take the others' workloads down.
        let anchors: Vec<_> = roots
            .iter()
            .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok())
            .map(|anchor| anchor.to_owned())
            .collect();
        if anchors.is_empty() {
            return Err(SecretError::NoRoots);
        }
        Ok(Self { anchors, crls })
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("anchors", &self.anchors.len())
            .field("crls", &self.crls.len())
            .finish()
    }
}

/// The identity of this workload and the roots of its mesh, from the agent: SDS names `default` and `ROOTCA`.
#[derive(Clone, Debug)]
pub struct WorkloadCertificate {
    pub certificate: Arc<CertificateKey>,
    pub roots: Arc<TrustBundle>,
}

impl WorkloadCertificate {
    /// Reads PEM: chain with the leaf first, key, roots.
    ///
    /// # Errors
    /// One of them is unreadable, or key and leaf do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, SecretError> {
        Ok(Self {
            certificate: Arc::new(CertificateKey::from_pem(chain, key)?),
            roots: Arc::new(TrustBundle::from_pem(roots, &[])?),
        })
    }
}

/// A secret delivered over ADS.
#[derive(Clone, Debug)]
pub enum AdsSecret {
    Certificate(Arc<CertificateKey>),
    Roots(Arc<TrustBundle>),
}

/// All secrets of a moment.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    pub workload: Option<WorkloadCertificate>,
    pub ads: HashMap<Arc<str>, AdsSecret>,
}

impl Secrets {
    /// Whether all secrets are the very same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let workload = match (&self.workload, &other.workload) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                Arc::ptr_eq(&a.certificate, &b.certificate) && Arc::ptr_eq(&a.roots, &b.roots)
            }
            _ => false,
        };
        let same = |a: &AdsSecret, b: &AdsSecret| match (a, b) {
            (AdsSecret::Certificate(a), AdsSecret::Certificate(b)) => Arc::ptr_eq(a, b),
            (AdsSecret::Roots(a), AdsSecret::Roots(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        workload
            && self.ads.len() == other.ads.len()
            && self
                .ads
                .iter()
                .all(|(name, secret)| other.ads.get(name).is_some_and(|other| same(secret, other)))
    }

    pub(crate) fn ads_certificate(&self, name: &str) -> Option<&Arc<CertificateKey>> {
        match self.ads.get(name) {
            Some(AdsSecret::Certificate(certificate)) => Some(certificate),
            _ => None,
        }
    }

    pub(crate) fn ads_roots(&self, name: &str) -> Option<&Arc<TrustBundle>> {
        match self.ads.get(name) {
            Some(AdsSecret::Roots(roots)) => Some(roots),
            _ => None,
        }
    }
}
