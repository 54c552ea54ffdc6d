//! The authority that the webhook's serving certificates come from: key and certificate, made by
//! the operator for itself, trusted by nobody but the webhook's own configuration.

use std::collections::BTreeMap;

use ironsail_runtime::tls;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Keys of the Secret.
const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const LIFETIME: Duration = Duration::days(365);
/// An authority is renewed when it has less than this left.
const MARGIN: Duration = Duration::days(120);
/// Clocks may differ a little.
const SKEW: Duration = Duration::minutes(5);
const SUBJECT: &str = "istio-operator webhook";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("certificate can't be made")]
    Make(#[source] rcgen::Error),
    #[error("key can't be used")]
    Use(#[source] rustls::Error),
}

/// A key that signs, with its own certificate.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
    not_after: OffsetDateTime,
}

impl Authority {
    /// One with a new key.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn create(now: OffsetDateTime) -> Result<Self, CertificateError> {
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        Self::signed(key, now)
    }

    /// The same key in a new certificate, so that what was signed before stays trusted.
    ///
    /// # Errors
    /// The key can't sign.
    pub fn renewed(self, now: OffsetDateTime) -> Result<Self, CertificateError> {
        Self::signed(self.key, now)
    }

    fn signed(key: KeyPair, now: OffsetDateTime) -> Result<Self, CertificateError> {
        let mut params = named();
        params.not_before = now - SKEW;
        params.not_after = now + LIFETIME;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(CertificateError::Make)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            not_after: params.not_after,
            key,
        })
    }

    /// What a Secret holds; nothing if it is no authority, or one that has expired.
    pub fn read(data: &BTreeMap<String, ByteString>, now: OffsetDateTime) -> Option<Self> {
        let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
        let pem = text(CERTIFICATE)?;
        let key = KeyPair::from_pem(&text(KEY)?).ok()?;
        let der = tls::certificates(pem.as_bytes()).ok()?.into_iter().next()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let not_after =
            OffsetDateTime::from_unix_timestamp(certificate.validity().not_after.timestamp())
                .ok()?;
        let fits = certificate.public_key().raw == key.subject_public_key_info();
        (fits && now < not_after).then_some(Self {
            pem,
            der: der.clone(),
            key,
            not_after,
        })
    }

    /// What the Secret is to hold.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let pairs = [
            (CERTIFICATE, self.pem.clone()),
            (KEY, self.key.serialize_pem()),
        ];
        pairs
            .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
            .into()
    }

    /// PEM of the certificate that clients are to trust.
    pub fn bundle(&self) -> &str {
        &self.pem
    }

    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        self.not_after - now < MARGIN
    }

    /// A new key and a certificate for DNS names, as long as the authority's.
    ///
    /// # Errors
    /// A name is no DNS name.
    pub fn serving_key(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<CertifiedKey, CertificateError> {
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let issuer =
            Issuer::from_ca_cert_der(&self.der, &self.key).map_err(CertificateError::Make)?;
        let mut params = CertificateParams::new(names).map_err(CertificateError::Make)?;
        params.distinguished_name = DistinguishedName::new();
        params.not_before = now - SKEW;
        params.not_after = self.not_after;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params
            .signed_by(&key, &issuer)
            .map_err(CertificateError::Make)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        CertifiedKey::from_der(
            vec![certificate.der().clone()],
            key.into(),
            &tls::provider(),
        )
        .map_err(CertificateError::Use)
    }
}

fn named() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    params
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    const NAME: &str = "istio-operator.istio-operator.svc";

    fn at(days: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time") + Duration::days(days)
    }

    fn is_trusted(key: &CertifiedKey, bundle: &str, name: &str, now: OffsetDateTime) -> bool {
        let roots = tls::roots_from_pem(bundle.as_bytes()).expect("a root");
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider())
                .build()
                .expect("a verifier");
        let seconds = u64::try_from(now.unix_timestamp()).expect("later than 1970");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let leaf = key.cert.first().expect("a leaf");
        verifier
            .verify_server_cert(leaf, &[], &name, &[], now)
            .is_ok()
    }

    #[test]
    fn what_it_signs_is_trusted_under_its_name_only() {
        let authority = Authority::create(at(0)).expect("made");
        let key = authority
            .serving_key(&[NAME.to_owned()], at(1))
            .expect("signed");
        assert!(is_trusted(&key, authority.bundle(), NAME, at(2)));
        assert!(!is_trusted(
            &key,
            authority.bundle(),
            "other.example",
            at(2)
        ));
        let other = Authority::create(at(0)).expect("made");
        assert!(!is_trusted(&key, other.bundle(), NAME, at(2)));
    }

    #[test]
    fn it_is_renewed_early_and_what_it_signed_stays_trusted() {
        let old = Authority::create(at(0)).expect("made");
        let key = old.serving_key(&[NAME.to_owned()], at(0)).expect("signed");
        assert!(!old.is_due(at(244)));
        assert!(old.is_due(at(246)));
        let new = old.renewed(at(246)).expect("signed");
        assert!(!new.is_due(at(246)));
        assert!(is_trusted(&key, new.bundle(), NAME, at(250)));
    }

    #[test]
    fn a_secret_is_read_back_unless_it_is_broken() {
        let authority = Authority::create(at(0)).expect("made");
        let data = authority.data();
        let read = Authority::read(&data, at(1)).expect("read");
        assert_eq!(read.bundle(), authority.bundle());
        assert!(Authority::read(&data, at(366)).is_none(), "expired");
        assert!(Authority::read(&BTreeMap::new(), at(0)).is_none());
        let mut mixed = Authority::create(at(0)).expect("made").data();
        mixed.insert(KEY.to_owned(), data[KEY].clone());
        assert!(Authority::read(&mixed, at(0)).is_none(), "another's key");
    }
}
