//! A certificate with its key and roots, as texts and ready for handshakes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ironsail_runtime::tls::{self, TlsError};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::transport_socket::secret::{
    CertificateKey, SecretError, TrustBundle, WorkloadCertificate,
};

/// The workload's certificate in force.
#[derive(Clone)]
pub struct Credential {
    certificate: WorkloadCertificate,
    chain_pem: String,
    key_pem: String,
    roots_pem: String,
    validity: Validity,
    root: Validity,
}

/// Validity and serial number of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Hexadecimal, lower case.
    pub serial: String,
}

/// Why texts make no credential. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the leaf is no X.509 certificate: {0}")]
    Leaf(String),
    #[error("a root is no X.509 certificate: {0}")]
    Root(String),
    #[error("the roots are unreadable")]
    Roots(#[from] TlsError),
}

/// The PEM texts a credential is made of.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    /// Leaf first.
    pub chain: &'a str,
    pub key: &'a str,
    pub roots: &'a str,
}

impl Credential {
    /// # Errors
    /// A text is unreadable, or key and leaf do not belong together.
    pub(super) fn new(texts: Texts<'_>) -> Result<Self, CredentialError> {
        let key = CertificateKey::from_pem(texts.chain.as_bytes(), texts.key.as_bytes())?;
        let roots = TrustBundle::from_pem(texts.roots.as_bytes(), &[])?;
        let leaf = key.certified.cert.first().ok_or(SecretError::EmptyChain)?;
        let validity = Validity::of(leaf).map_err(CredentialError::Leaf)?;
        let root = first_to_expire(texts.roots)?;
        Ok(Self {
            certificate: WorkloadCertificate {
                certificate: Arc::new(key),
                roots: Arc::new(roots),
            },
            chain_pem: texts.chain.to_owned(),
            key_pem: texts.key.to_owned(),
            roots_pem: texts.roots.to_owned(),
            validity,
            root,
        })
    }

    /// Ready for handshakes.
    pub fn certificate(&self) -> &WorkloadCertificate {
        &self.certificate
    }

    /// PEM, leaf first, without the root.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// PEM, PKCS#8. Must not be logged or printed.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// PEM of the roots that peers are verified against.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// URI SANs of the leaf.
    pub fn uri_sans(&self) -> &[Arc<str>] {
        &self.certificate.certificate.uri_sans
    }

    pub fn not_before(&self) -> SystemTime {
        self.validity.not_before
    }

    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Of the root that expires first.
    pub fn root(&self) -> &Validity {
        &self.root
    }

    /// Serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.validity.serial
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("uri_sans", &self.uri_sans())
            .field("serial", &self.serial())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        Ok(Self {
            not_before: system_time(parsed.validity().not_before.timestamp()),
            not_after: system_time(parsed.validity().not_after.timestamp()),
            serial: parsed.tbs_certificate.serial.to_str_radix(16),
        })
    }
}

fn first_to_expire(roots_pem: &str) -> Result<Validity, CredentialError> {
    let roots = tls::certificates(roots_pem.as_bytes())?;
    let validities = roots
        .iter()
        .map(Validity::of)
        .collect::<Result<Vec<_>, _>>();
    let first = validities
        .map_err(CredentialError::Root)?
        .into_iter()
        .min_by_key(|validity| validity.not_after);
    first.ok_or(CredentialError::Roots(TlsError::NoCertificate))
}

/// Times before 1970 become 1970: certificates that old are expired either way.
fn system_time(unix_seconds: i64) -> SystemTime {
    let seconds = u64::try_from(unix_seconds).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
