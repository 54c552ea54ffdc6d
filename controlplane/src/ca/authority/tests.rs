use super::*;
use crate::ca::root;
use rcgen::CertifiedIssuer;

const NOW: i64 = 1_800_000_000;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).expect("a time")
}

fn self_signed() -> Material {
    root::create("cluster.local", Duration::days(3650), now()).expect("a root")
}

/// Root, intermediate, signing intermediate.
fn plugged(key_usages: Vec<KeyUsagePurpose>, signer_days: i64) -> Material {
    let authority = |name: &str, usages: Vec<KeyUsagePurpose>, days: i64| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.not_before = now() - Duration::days(1);
        params.not_after = now() + Duration::days(days);
        params
    };
    let sign = || vec![KeyUsagePurpose::KeyCertSign];
    let key = || KeyPair::generate().expect("a key");
    let root = CertifiedIssuer::self_signed(authority("root", sign(), 1000), key()).expect("root");
    let middle =
        CertifiedIssuer::signed_by(authority("middle", sign(), 900), key(), &root).expect("middle");
    let signer_key = key();
    let key_pem = signer_key.serialize_pem();
    let signer = CertifiedIssuer::signed_by(
        authority("signer", key_usages, signer_days),
        signer_key,
        &middle,
    )
    .expect("signer");
    Material {
        certificate: signer.pem(),
        key: key_pem,
        chain: format!("{}{}{}", signer.pem(), middle.pem(), root.pem()),
        roots: root.pem(),
    }
}

fn request(common_name: bool) -> SigningRequest {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["evil.example.com".to_owned()]).expect("valid");
    params.distinguished_name = DistinguishedName::new();
    if common_name {
        params.distinguished_name.push(DnType::CommonName, "evil");
    }
    let pem = params
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .expect("a request");
    SigningRequest::from_pem(&pem).expect("valid")
}

fn identity() -> Identity {
    Identity::new("cluster.local", "shop", "web")
}

fn sign(authority: &Authority, ttl: Duration) -> Result<Vec<String>, SignError> {
    authority.sign_workload(
        &request(false),
        &identity(),
        ttl,
        TtlPolicy::default(),
        now(),
    )
}

#[track_caller]
fn leaf_of(chain: &[String]) -> CertificateDer<'static> {
    tls::certificates(chain[0].as_bytes()).expect("PEM")[0].clone()
}

#[test]
fn the_name_is_the_callers_and_nothing_else() {
    let authority = Authority::new(&self_signed(), now()).expect("usable");
    let chain = sign(&authority, Duration::ZERO).expect("signed");
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], authority.roots_pem());
    let der = leaf_of(&chain);
    let (_, leaf) = X509Certificate::from_der(&der).expect("parses");
    let names = leaf
        .subject_alternative_name()
        .expect("one")
        .expect("there");
    // A subject without a name needs its alternative name to be critical: RFC 5280 section 4.2.1.6.
    assert!(names.critical);
    let names: Vec<String> = names
        .value
        .general_names
        .iter()
        .map(|n| n.to_string())
        .collect();
    assert_eq!(names, ["URI(spiffe://cluster.local/ns/shop/sa/web)"]);
    assert_eq!(leaf.subject().iter().count(), 0);
    let usage = leaf.key_usage().expect("one").expect("there").value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let extended = leaf
        .extended_key_usage()
        .expect("one")
        .expect("there")
        .value;
    assert!(extended.server_auth && extended.client_auth);
    assert!(!leaf.is_ca());
    let validity = leaf.validity();
    assert_eq!(validity.not_before.timestamp(), NOW - 120);
    assert_eq!(validity.not_after.timestamp(), NOW + 86_400);
}

#[test]
fn a_common_name_is_the_identity() {
    let authority = Authority::new(&self_signed(), now()).expect("usable");
    let chain = authority
        .sign_workload(
            &request(true),
            &identity(),
            Duration::HOUR,
            TtlPolicy::default(),
            now(),
        )
        .expect("signed");
    let der = leaf_of(&chain);
    let (_, leaf) = X509Certificate::from_der(&der).expect("parses");
    let name = leaf.subject().iter_common_name().next().expect("one");
    assert_eq!(name.as_str(), Ok("spiffe://cluster.local/ns/shop/sa/web"));
}

#[test]
fn lifetimes() {
    let authority =
        Authority::new(&plugged(vec![KeyUsagePurpose::KeyCertSign], 10), now()).expect("usable");
    let seconds = |ttl: Duration| {
        let chain = sign(&authority, ttl).expect("signed");
        let der = leaf_of(&chain);
        let (_, leaf) = X509Certificate::from_der(&der).expect("parses");
        leaf.validity().not_after.timestamp() - NOW
    };
    assert_eq!(seconds(Duration::seconds(-5)), 86_400);
    assert_eq!(seconds(Duration::seconds(60)), 60);
    // Not longer than the signer's own.
    assert_eq!(seconds(Duration::days(90)), 10 * 86_400);
    assert!(matches!(
        sign(&authority, Duration::days(90) + Duration::SECOND),
        Err(SignError::TtlTooLong { .. })
    ));
    let late = now() + Duration::days(11);
    let expired = authority.sign_workload(
        &request(false),
        &identity(),
        Duration::ZERO,
        TtlPolicy::default(),
        late,
    );
    assert!(matches!(expired, Err(SignError::Expired(_))));
}

#[test]
fn intermediates_are_one_element_each_and_roots_come_last() {
    let material = plugged(vec![KeyUsagePurpose::KeyCertSign], 100);
    let authority = Authority::new(&material, now()).expect("usable");
    let chain = sign(&authority, Duration::ZERO).expect("signed");
    let sizes: Vec<usize> = chain
        .iter()
        .map(|pem| tls::certificates(pem.as_bytes()).expect("PEM").len())
        .collect();
    assert_eq!(sizes, [1, 1, 1, 1]);
    let normal = |pem: &str| tls::certificates(pem.as_bytes()).expect("PEM")[0].clone();
    assert_eq!(normal(&chain[1]), normal(&material.certificate));
    assert_eq!(normal(&chain[3]), normal(&material.roots));
    assert!(chain.iter().all(|pem| pem.ends_with("-----\n")));
}

#[test]
fn what_does_not_fit_is_refused() {
    let good = plugged(vec![KeyUsagePurpose::KeyCertSign], 100);
    let other = self_signed();
    let check = |change: &dyn Fn(&mut Material), at: OffsetDateTime| {
        let mut material = good.clone();
        change(&mut material);
        Authority::new(&material, at).expect_err("unusable")
    };
    assert!(matches!(
        check(&|m| m.key = other.key.clone(), now()),
        AuthorityError::Mismatch
    ));
    assert!(matches!(
        check(&|m| m.key = "junk".to_owned(), now()),
        AuthorityError::Key(_)
    ));
    assert!(matches!(
        check(&|m| m.roots = other.roots.clone(), now()),
        AuthorityError::Untrusted(_)
    ));
    assert!(matches!(
        check(&|m| m.chain = "junk".to_owned(), now()),
        AuthorityError::Parse { .. }
    ));
    assert!(matches!(
        check(&|m| m.chain = String::new(), now()),
        AuthorityError::Untrusted(_)
    ));
    assert!(matches!(
        check(&|_| {}, now() + Duration::days(200)),
        AuthorityError::Untrusted(_)
    ));
    let not_a_signer = plugged(vec![KeyUsagePurpose::DigitalSignature], 100);
    assert!(matches!(
        Authority::new(&not_a_signer, now()),
        Err(AuthorityError::NotAuthority)
    ));
}

#[test]
fn rsa_requests_and_rsa_authorities_work() {
    let rsa = || {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key")
    };
    let key = rsa();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = now() + Duration::days(10);
    let root = params.self_signed(&key).expect("a root");
    let material = Material {
        certificate: root.pem(),
        key: key.serialize_pem(),
        chain: String::new(),
        roots: root.pem(),
    };
    let authority = Authority::new(&material, now()).expect("usable");
    let workload = rsa();
    let pem = CertificateParams::default()
        .serialize_request(&workload)
        .and_then(|request| request.pem())
        .expect("a request");
    let request = SigningRequest::from_pem(&pem).expect("valid");
    authority
        .sign_workload(
            &request,
            &identity(),
            Duration::ZERO,
            TtlPolicy::default(),
            now(),
        )
        .expect("signed");
}

#[test]
fn serial_numbers_differ() {
    let authority = Authority::new(&self_signed(), now()).expect("usable");
    let request = request(false);
    let serial = || {
        let chain = authority
            .sign_workload(
                &request,
                &identity(),
                Duration::ZERO,
                TtlPolicy::default(),
                now(),
            )
            .expect("signed");
        let der = leaf_of(&chain);
        let (_, leaf) = X509Certificate::from_der(&der).expect("parses");
        leaf.raw_serial().to_vec()
    };
    assert_ne!(serial(), serial());
}
