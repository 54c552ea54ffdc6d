//! The crypto provider, and PEM into the types of rustls and back.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why PEM text or what it holds cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("PEM text does not parse: {0:?}")]
    Pem(PemError),
    #[error("no certificate in the PEM text")]
    NoCertificate,
    #[error("no private key in the PEM text")]
    NoKey,
    #[error("a root certificate cannot be used as a trust anchor")]
    Root(#[source] rustls::Error),
    #[error("key and certificate cannot be used")]
    Identity(#[source] rustls::Error),
}

/// Makes aws-lc-rs the provider of the whole process; later calls change nothing.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Fails only when another thread was faster.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// The provider of this process.
pub fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// All certificates of a PEM text, in order; other sections are passed over.
///
/// # Errors
/// A section is malformed, or there is no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Pem)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok(certificates)
}

/// PEM of DER certificates, with 64 characters per line.
pub fn pem_of(certificates: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let sections: Vec<_> = certificates
        .into_iter()
        .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.as_ref()))
        .collect();
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_many_config(&sections, lines)
}

/// The first private key of a PEM text: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// A section is malformed, or there is no key.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey,
        other => TlsError::Pem(other),
    })
}

/// Trust anchors of certificates.
///
/// # Errors
/// One of them is no usable certificate.
pub fn roots<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone()).map_err(TlsError::Root)?;
    }
    Ok(store)
}

/// Trust anchors of a PEM bundle.
///
/// # Errors
/// The text holds no certificate or an unusable one.
pub fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    roots(&certificates(pem)?)
}

/// A client that trusts `roots` and shows `identity`, a chain and its key, if there is one.
///
/// # Errors
/// Key and certificate do not fit.
pub fn client_config(
    roots: RootCertStore,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<rustls::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Identity)?
        .with_root_certificates(roots);
    match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Identity),
        None => Ok(builder.with_no_client_auth()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rcgen_writes() {
        let key = rcgen::KeyPair::generate().expect("generates");
        let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("signs");
        let both = format!("{}{}", certificate.pem(), key.serialize_pem());
        let chain = certificates(both.as_bytes()).expect("one certificate");
        assert_eq!(chain.len(), 1);
        let private = private_key(both.as_bytes()).expect("one key");
        let store = roots_from_pem(both.as_bytes()).expect("a root");
        assert!(client_config(store, Some((chain, private))).is_ok());
    }

    #[test]
    fn writes_what_it_reads() {
        let certificates = [vec![1; 100], vec![2; 1]].map(CertificateDer::from);
        let text = pem_of(&certificates);
        assert!(text.lines().all(|line| line.len() <= 64), "{text}");
        assert!(
            text.starts_with("-----BEGIN CERTIFICATE-----\nAQEB"),
            "{text}"
        );
        assert!(
            text.ends_with("Ag==\n-----END CERTIFICATE-----\n"),
            "{text}"
        );
        assert_eq!(
            super::certificates(text.as_bytes()).ok(),
            Some(certificates.to_vec())
        );
    }

    #[test]
    fn says_what_is_missing() {
        assert!(matches!(certificates(b""), Err(TlsError::NoCertificate)));
        assert!(matches!(private_key(b"text"), Err(TlsError::NoKey)));
        assert!(matches!(
            certificates(b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"),
            Err(TlsError::Pem(_))
        ));
    }
}
