//! Signing.

use std::fmt;

use ironsail_mesh::identity::Identity;
use ironsail_runtime::tls;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use time::{Duration, OffsetDateTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ca::csr::SigningRequest;
use crate::ca::material::Material;

/// How far clocks of workloads may be behind.
const CLOCK_SKEW: Duration = Duration::minutes(2);
/// Longest common name of X.520.
const MAX_COMMON_NAME: usize = 64;

/// Limits of validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// For requests that ask for none; default 24 h.
    pub default: Duration,
    /// Longer requests are refused; default 90 days.
    pub max: Duration,
}

impl Default for TtlPolicy {
    fn default() -> Self {
        Self {
            default: Duration::hours(24),
            max: Duration::days(90),
        }
    }
}

/// Why key and certificates are no usable authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{part} does not parse")]
    Parse {
        part: &'static str,
        #[source]
        source: tls::TlsError,
    },
    #[error("certificate of the authority does not parse")]
    Certificate,
    #[error("certificate of the authority may not sign certificates")]
    NotAuthority,
    #[error("key of the authority is of an unsupported kind")]
    Key(#[source] rcgen::Error),
    #[error("key and certificate of the authority do not belong together")]
    Mismatch,
    #[error("authority cannot be used as an issuer")]
    Issuer(#[source] rcgen::Error),
    #[error("certificates of this authority do not verify against its roots: {0}")]
    Untrusted(webpki::Error),
}

/// Why a certificate is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("requested lifetime of {requested} is longer than the longest allowed, {max}")]
    TtlTooLong { requested: Duration, max: Duration },
    #[error("certificate of the authority expired at {0}")]
    Expired(OffsetDateTime),
    #[error("identity cannot be written into a certificate")]
    Identity(#[source] rcgen::Error),
    #[error("signing failed")]
    Sign(#[source] rcgen::Error),
}

/// A signer with the certificates that lead to its roots.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
    /// Signer and what stands between it and the roots; empty when the signer is a root.
    intermediates: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    roots_pem: String,
}

/// A certificate with its key, for the control plane's own servers.
pub struct ServerIdentity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub not_after: OffsetDateTime,
}

impl Authority {
    /// Checks that the parts belong together and that what it signs verifies against its own roots.
    ///
    /// # Errors
    /// A part is malformed or does not fit, or `now` is outside of a certificate's validity.
    pub fn new(material: &Material, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let certificates = |part: &'static str, pem: &str| {
            tls::certificates(pem.as_bytes())
                .map_err(|source| AuthorityError::Parse { part, source })
        };
        let own = certificates("certificate of the authority", &material.certificate)?;
        let chain = match material.chain.trim() {
            "" => Vec::new(),
            _ => certificates("certificate chain", &material.chain)?,
        };
        let roots = certificates("root certificate", &material.roots)?;
        let signer = own.first().ok_or(AuthorityError::Certificate)?.clone();
        let (not_after, spki) = check_signer(&signer)?;
        let key = KeyPair::from_pem(&material.key).map_err(AuthorityError::Key)?;
        if key.subject_public_key_info() != spki {
            return Err(AuthorityError::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&signer, key).map_err(AuthorityError::Issuer)?;
        let mut intermediates = Vec::new();
        for certificate in own.into_iter().chain(chain) {
            if !roots.contains(&certificate)
                && !intermediates.contains(&certificate)
                && !is_self_issued(&certificate)
            {
                intermediates.push(certificate);
            }
        }
        let authority = Self {
            issuer,
            not_after,
            intermediates,
            roots_pem: tls::pem_of(&roots),
            roots,
        };
        authority.check_itself(now)?;
        Ok(authority)
    }

    /// Roots as PEM, concatenated, each ending with a line feed.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// End of the signer's validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Signs a workload's key for `identity`; a `ttl` of zero or less means the default.
    ///
    /// The answer is leaf, intermediates, and last the roots in one element, all PEM ending with a line feed.
    ///
    /// # Errors
    /// The lifetime is too long, the signer has expired, or the identity has characters that no certificate takes.
    pub fn sign_workload(
        &self,
        request: &SigningRequest,
        identity: &Identity,
        ttl: Duration,
        policy: TtlPolicy,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, SignError> {
        if ttl > policy.max {
            return Err(SignError::TtlTooLong {
                requested: ttl,
                max: policy.max,
            });
        }
        let ttl = match ttl.is_positive() {
            true => ttl,
            false => policy.default,
        };
        let name = identity.to_string();
        let uri = name.as_str().try_into().map_err(SignError::Identity)?;
        let mut params = self.leaf(vec![SanType::URI(uri)], ttl, now)?;
        if request.has_common_name && name.len() <= MAX_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let leaf = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(SignError::Sign)?;
        let mut chain = vec![tls::pem_of([leaf.der()])];
        chain.extend(
            self.intermediates
                .iter()
                .map(|certificate| tls::pem_of([certificate])),
        );
        chain.push(self.roots_pem.clone());
        Ok(chain)
    }

    /// Makes a key and a certificate for DNS names.
    ///
    /// # Errors
    /// The signer has expired, or a name is no DNS name.
    pub fn sign_server(
        &self,
        dns_names: &[String],
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<ServerIdentity, SignError> {
        let names = dns_names
            .iter()
            .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
            .collect::<Result<Vec<_>, rcgen::Error>>()
            .map_err(SignError::Identity)?;
        let key = KeyPair::generate().map_err(SignError::Sign)?;
        let params = self.leaf(names, ttl, now)?;
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(SignError::Sign)?;
        let mut chain = vec![leaf.der().clone()];
        chain.extend(self.intermediates.iter().cloned());
        Ok(ServerIdentity {
            chain,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            not_after: params.not_after,
        })
    }

    fn leaf(
        &self,
        names: Vec<SanType>,
        ttl: Duration,
        now: OffsetDateTime,
    ) -> Result<CertificateParams, SignError> {
        if now >= self.not_after {
            return Err(SignError::Expired(self.not_after));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.serial_number = Some(random_serial());
        params.not_before = now - CLOCK_SKEW;
        params.not_after = (now + ttl).min(self.not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok(params)
    }

    /// Signs a throw-away certificate and verifies it, which finds every part that does not fit.
    fn check_itself(&self, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let probe = self
            .sign_server(&["probe.invalid".to_owned()], Duration::minutes(5), now)
            .map_err(|error| match error {
                SignError::Expired(_) => AuthorityError::Untrusted(webpki::Error::CertExpired {
                    time: unix_time(now),
                    not_after: unix_time(self.not_after),
                }),
                SignError::Identity(source) | SignError::Sign(source) => {
                    AuthorityError::Issuer(source)
                }
                SignError::TtlTooLong { .. } => AuthorityError::NotAuthority,
            })?;
        let anchors = self
            .roots
            .iter()
            .map(webpki::anchor_from_trusted_cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(AuthorityError::Untrusted)?;
        let leaf = probe.chain.first().ok_or(AuthorityError::Certificate)?;
        EndEntityCert::try_from(leaf)
            .map_err(AuthorityError::Untrusted)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &self.intermediates,
                unix_time(now),
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map(|_| ())
            .map_err(AuthorityError::Untrusted)
    }
}

impl fmt::Debug for Authority {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .field("intermediates", &self.intermediates.len())
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// Whether every certificate of `old` is also in `new`, so that no workload loses its trust.
pub fn contains_roots(new: &[CertificateDer<'_>], old: &[CertificateDer<'_>]) -> bool {
    old.iter().all(|certificate| new.contains(certificate))
}

/// End of validity and public key of a certificate that may sign others.
fn check_signer(
    certificate: &CertificateDer<'_>,
) -> Result<(OffsetDateTime, Vec<u8>), AuthorityError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| AuthorityError::Certificate)?;
    let may_sign = match parsed.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => return Err(AuthorityError::Certificate),
    };
    if !parsed.is_ca() || !may_sign {
        return Err(AuthorityError::NotAuthority);
    }
    let not_after = parsed.validity().not_after.to_datetime();
    Ok((not_after, parsed.public_key().raw.to_vec()))
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

/// 16 random bytes, the first neither zero nor above 127.
pub(crate) fn random_serial() -> SerialNumber {
    let mut bytes = *uuid::Uuid::new_v4().as_bytes();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn unix_time(time: OffsetDateTime) -> UnixTime {
    let seconds = u64::try_from(time.unix_timestamp()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
