//! Roots that the control plane makes itself.

use ironsail_runtime::tls;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ca::authority::random_serial;
use crate::ca::material::Material;

/// Validity of a new root: ten years.
pub const LIFETIME: Duration = Duration::days(3650);
/// A root is renewed when less than this part of its validity is left.
const GRACE_PERCENT: i64 = 20;

/// Why a root cannot be made or renewed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("key or certificate cannot be made")]
    Make(#[source] rcgen::Error),
    #[error("certificate does not parse")]
    Parse,
}

/// Makes a root with a key of ECDSA P-256.
///
/// # Errors
/// The organization has characters that no certificate takes.
pub fn create(
    organization: &str,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<Material, RootError> {
    let key = KeyPair::generate().map_err(RootError::Make)?;
    self_signed(&key, organization, lifetime, now)
}

/// The same key in a new certificate with the same subject, so that certificates signed before verify against both.
///
/// # Errors
/// The old material is malformed.
pub fn renew(
    old: &Material,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<Material, RootError> {
    let key = KeyPair::from_pem(&old.key).map_err(RootError::Make)?;
    let organization = with_certificate(&old.certificate, |certificate| {
        certificate
            .subject()
            .iter_organization()
            .next()
            .and_then(|name| name.as_str().ok().map(str::to_owned))
    })?;
    self_signed(&key, &organization.unwrap_or_default(), lifetime, now)
}

/// Whether less than a fifth of the certificate's validity is left.
///
/// # Errors
/// The certificate does not parse.
pub fn is_due(certificate_pem: &str, now: OffsetDateTime) -> Result<bool, RootError> {
    with_certificate(certificate_pem, |certificate| {
        let validity = certificate.validity();
        let begin = validity.not_before.timestamp();
        let end = validity.not_after.timestamp();
        let grace = (end - begin).saturating_mul(GRACE_PERCENT) / 100;
        now.unix_timestamp() >= end - grace
    })
}

fn with_certificate<T>(
    pem: &str,
    read: impl FnOnce(&X509Certificate<'_>) -> T,
) -> Result<T, RootError> {
    let certificates = tls::certificates(pem.as_bytes()).map_err(|_| RootError::Parse)?;
    let der = certificates.first().ok_or(RootError::Parse)?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| RootError::Parse)?;
    Ok(read(&certificate))
}

fn self_signed(
    key: &KeyPair,
    organization: &str,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<Material, RootError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !organization.is_empty() {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    params.serial_number = Some(random_serial());
    // As with leaves, clocks may differ a little.
    params.not_before = now - Duration::minutes(2);
    params.not_after = now + lifetime;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(key).map_err(RootError::Make)?;
    let pem = tls::pem_of([certificate.der()]);
    Ok(Material {
        key: key.serialize_pem(),
        chain: String::new(),
        roots: pem.clone(),
        certificate: pem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::authority::Authority;

    fn at(days: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time") + Duration::days(days)
    }

    #[test]
    fn roots_are_due_in_the_last_fifth() {
        let root = create("cluster.local", Duration::days(100), at(0)).expect("made");
        for (day, expected) in [(0, false), (79, false), (81, true), (101, true)] {
            assert_eq!(
                is_due(&root.certificate, at(day)).expect("parses"),
                expected,
                "{day}"
            );
        }
    }

    #[test]
    fn renewal_keeps_key_and_subject() {
        let old = create("cluster.local", Duration::days(100), at(0)).expect("made");
        let new = renew(&old, Duration::days(100), at(85)).expect("renewed");
        assert_eq!(old.key, new.key);
        assert_ne!(old.certificate, new.certificate);
        // Signed under the new certificate, verified against the old one.
        let mixed = Material {
            roots: old.roots.clone(),
            ..new
        };
        Authority::new(&mixed, at(85)).expect("verifies");
    }
}
