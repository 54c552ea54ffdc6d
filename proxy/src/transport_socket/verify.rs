//! Verification of certificates: a chain to a root, then subject alternative names and pins.
//!
//! Identities are URI SANs, which name-based verification does not look at, so host names play no part here.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder};
use x509_parser::prelude::FromDer;

use crate::conn::PeerCertificate;
use crate::resource::transport_socket::{Pin, SanKind, SanMatch, SanPattern};
use crate::transport_socket::secret::TrustBundle;

/// Why a certificate with a good chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "certificate verify failed: no subject alternative name matches, presented {presented:?}"
    )]
    San { presented: Vec<String> },
    /// X.509-SVID section 2: which one would the peer be?
    #[error(
        "certificate verify failed: more than one URI beside a SPIFFE identity, presented {presented:?}"
    )]
    Ambiguous { presented: Vec<String> },
    #[error("certificate verify failed: certificate is not pinned")]
    Pin,
    #[error("{0}")]
    Denied(Arc<str>),
}

/// What a chain, and the names of its leaf, must satisfy.
#[derive(Debug)]
pub struct Requirements {
    pub roots: Arc<TrustBundle>,
    pub sans: Arc<[SanMatch]>,
    pub pins: Arc<[Pin]>,
}

/// Verifies the other side of a handshake.
pub struct Verifier {
    policy: Policy,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

/// Which certificates are good.
#[derive(Debug)]
pub enum Policy {
    Verify(Requirements),
    /// Any certificate: the configuration asks for no verification.
    Any,
    /// None, with the reason.
    Deny(Arc<str>),
}

impl Verifier {
    /// `mandatory` concerns the server side: whether clients must present a certificate.
    pub fn new(policy: Policy, mandatory: bool, provider: Arc<CryptoProvider>) -> Self {
        Self {
            policy,
            mandatory,
            provider,
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        match &self.policy {
            Policy::Any => Ok(()),
            Policy::Deny(reason) => Err(refused(IdentityError::Denied(Arc::clone(reason)))),
            Policy::Verify(requirements) => {
                let algorithms = self.provider.signature_verification_algorithms.all;
                requirements.verify(leaf, intermediates, now, usage, algorithms)
            }
        }
    }
}

impl Requirements {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        algorithms: &[&dyn rustls::pki_types::SignatureVerificationAlgorithm],
    ) -> Result<(), rustls::Error> {
        let certificate = EndEntityCert::try_from(leaf).map_err(chain_error)?;
        let lists: Vec<webpki::CertRevocationList<'_>> = self
            .roots
            .crls
            .iter()
            .map(|list| list.clone().into())
            .collect();
        let lists: Vec<_> = lists.iter().collect();
        let revocation = match RevocationOptionsBuilder::new(&lists) {
            Ok(builder) => Some(builder.with_depth(RevocationCheckDepth::EndEntity).build()),
            Err(_) => None,
        };
        certificate
            .verify_for_usage(
                algorithms,
                &self.roots.anchors,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map_err(chain_error)?;
        check_names(&certificate, &self.sans).map_err(refused)?;
        check_pins(leaf, &certificate, &self.pins).map_err(refused)
    }
}

fn check_names(certificate: &EndEntityCert<'_>, sans: &[SanMatch]) -> Result<(), IdentityError> {
    if sans.is_empty() {
        return Ok(());
    }
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    if uris.len() > 1 && uris.iter().any(|uri| uri.starts_with("spiffe://")) {
        let presented = uris.into_iter().map(str::to_owned).collect();
        return Err(IdentityError::Ambiguous { presented });
    }
    let uris = uris.into_iter().map(|name| (SanKind::Uri, name));
    let dns = certificate
        .valid_dns_names()
        .map(|name| (SanKind::Dns, name));
    let names: Vec<_> = uris.chain(dns).collect();
    let good = names
        .iter()
        .any(|(kind, name)| sans.iter().any(|san| san.matches(*kind, name)));
    if good {
        return Ok(());
    }
    Err(IdentityError::San {
        presented: names.into_iter().map(|(_, name)| name.to_owned()).collect(),
    })
}

fn check_pins(
    leaf: &CertificateDer<'_>,
    certificate: &EndEntityCert<'_>,
    pins: &[Pin],
) -> Result<(), IdentityError> {
    if pins.is_empty() {
        return Ok(());
    }
    let whole = sha256(leaf);
    let spki = sha256(&certificate.subject_public_key_info());
    let good = pins.iter().any(|pin| match pin {
        Pin::Certificate(wanted) => whole.as_ref() == wanted,
        Pin::Spki(wanted) => spki.as_ref() == wanted,
    });
    if good {
        Ok(())
    } else {
        Err(IdentityError::Pin)
    }
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

impl SanMatch {
    /// Whether a name of this kind matches.
    pub fn matches(&self, kind: SanKind, name: &str) -> bool {
        if self.kind.is_some_and(|wanted| wanted != kind) {
            return false;
        }
        let lower;
        let name = if self.ignore_case || kind == SanKind::Dns {
            lower = name.to_ascii_lowercase();
            lower.as_str()
        } else {
            name
        };
        match &self.pattern {
            SanPattern::Exact(wanted) => {
                name == &**wanted || (kind == SanKind::Dns && wildcard_matches(name, wanted))
            }
            SanPattern::Prefix(prefix) => name.starts_with(&**prefix),
            SanPattern::Suffix(suffix) => name.ends_with(&**suffix),
            SanPattern::Contains(part) => name.contains(&**part),
            SanPattern::Regex(regex) => regex.is_match(name),
        }
    }
}

/// Whether the certificate's name `*.example.com` stands for `wanted`: exactly one more label.
fn wildcard_matches(name: &str, wanted: &str) -> bool {
    let Some(suffix) = name.strip_prefix("*.") else {
        return false;
    };
    let wanted = wanted.to_ascii_lowercase();
    wanted
        .split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix)
}

fn refused(error: IdentityError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn chain_error(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let error = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("policy", &self.policy)
            .field("mandatory", &self.mandatory)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

/// URI SANs of a certificate; empty when it cannot be read.
pub fn uri_sans(der: &CertificateDer<'_>) -> Vec<Arc<str>> {
    EndEntityCert::try_from(der)
        .map(|certificate| certificate.valid_uri_names().map(Arc::from).collect())
        .unwrap_or_default()
}

/// Describes the verified certificates of the other side, leaf first.
pub fn describe(chain: &[CertificateDer<'_>]) -> Option<PeerCertificate> {
    let leaf = chain.first()?;
    let certificate = EndEntityCert::try_from(leaf).ok()?;
    let (subject, issuer) = match x509_parser::certificate::X509Certificate::from_der(leaf) {
        Ok((_, parsed)) => (rfc2253(parsed.subject()), rfc2253(parsed.issuer())),
        Err(_) => Default::default(),
    };
    Some(PeerCertificate {
        uri_sans: certificate.valid_uri_names().map(Arc::from).collect(),
        dns_sans: certificate.valid_dns_names().map(Arc::from).collect(),
        subject,
        issuer,
        sha256: hex(sha256(leaf).as_ref()),
        chain: chain.iter().map(|der| der.to_vec()).collect(),
        pem: OnceLock::new(),
    })
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A distinguished name as RFC 2253 writes it: last part first, `,` between, special characters escaped.
fn rfc2253(name: &x509_parser::x509::X509Name<'_>) -> String {
    let registry = x509_parser::objects::oid_registry();
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes: Vec<_> = rdn
                .iter()
                .map(|attribute| {
                    let key = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry)
                        .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
                    let value = attribute.as_str().unwrap_or_default();
                    format!("{key}={}", escape_rfc2253(value))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn escape_rfc2253(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (index == 0 && matches!(c, '#' | ' '))
            || (index == last && c == ' ');
        if special {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_by_kind_and_pattern() {
        let san = |kind, pattern| SanMatch {
            kind,
            pattern,
            ignore_case: false,
        };
        let uri = "spiffe://cluster.local/ns/default/sa/web";
        let exact = san(None, SanPattern::Exact(uri.into()));
        assert!(exact.matches(SanKind::Uri, uri));
        assert!(!exact.matches(SanKind::Uri, "spiffe://cluster.local/ns/default/sa/web2"));
        let domain = san(None, SanPattern::Prefix("spiffe://cluster.local/".into()));
        assert!(domain.matches(SanKind::Uri, uri));
        assert!(!domain.matches(SanKind::Uri, "spiffe://cluster.local.evil/ns/a/sa/b"));
        let dns = san(
            Some(SanKind::Dns),
            SanPattern::Exact("a.example.com".into()),
        );
        assert!(dns.matches(SanKind::Dns, "*.example.com"));
        assert!(!dns.matches(SanKind::Dns, "*.com"));
        assert!(!dns.matches(SanKind::Uri, "a.example.com"));
    }

    #[test]
    fn special_characters_of_names_are_escaped() {
        assert_eq!(escape_rfc2253(" a,b "), "\\ a\\,b\\ ");
    }
}
