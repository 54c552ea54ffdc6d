use super::*;
use crate::ca::authority::{Authority, TtlPolicy};
use crate::ca::csr::SigningRequest;
use crate::ca::root;
use std::sync::atomic::{AtomicUsize, Ordering};
use time::OffsetDateTime;

#[derive(Default)]
struct Fake {
    calls: AtomicUsize,
    down: bool,
}

impl TokenReviewer for Fake {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> Pin<Box<dyn Future<Output = Result<Review, String>> + Send + 'a>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if self.down {
                return Err("refused".to_owned());
            }
            // `<user>/<audience>.<claims>`
            let body = token.split('.').next().unwrap_or_default();
            let (user, audience) = body.split_once('/').unwrap_or(("", ""));
            Ok(Review {
                authenticated: !user.is_empty(),
                username: user.to_owned(),
                audiences: audiences
                    .iter()
                    .filter(|a| *a == audience)
                    .cloned()
                    .collect(),
            })
        })
    }
}

fn authenticator(fake: &Arc<Fake>) -> Authenticator {
    let domains = TrustDomains(vec!["cluster.local".to_owned(), "old.local".to_owned()]);
    Authenticator::new(
        fake.clone(),
        vec!["istio-ca".to_owned()],
        Arc::new(ArcSwap::from_pointee(domains)),
    )
}

fn peer(certificates: Option<Vec<CertificateDer<'static>>>) -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 1).into(),
        certificates: certificates.map(Into::into),
        is_tls: true,
    }
}

fn token(user: &str, audience: &str) -> String {
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(br#"{"exp":99999999999}"#);
    format!("Bearer {user}/{audience}.{claims}.x")
}

const WEB: &str = "system:serviceaccount:shop:web";

#[tokio::test]
async fn tokens() {
    let fake = Arc::new(Fake::default());
    let authenticator = authenticator(&fake);
    let caller = authenticator
        .authenticate(&peer(None), Some(&token(WEB, "istio-ca")))
        .await
        .expect("genuine");
    assert_eq!(
        caller.identity.to_string(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    assert_eq!(caller.proof, Proof::Token);
    for (name, authorization) in [
        ("nothing", None),
        ("another scheme", Some("Basic x".to_owned())),
        ("empty", Some("Bearer ".to_owned())),
        ("not genuine", Some(token("", "istio-ca"))),
        ("another audience", Some(token(WEB, "other"))),
        ("no service account", Some(token("admin", "istio-ca"))),
        (
            "half an account",
            Some(token("system:serviceaccount:shop:", "istio-ca")),
        ),
        (
            "too long",
            Some(format!("Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1))),
        ),
    ] {
        let error = authenticator
            .authenticate(&peer(None), authorization.as_deref())
            .await
            .expect_err(name);
        assert!(
            matches!(error, AuthError::Unauthenticated(_)),
            "{name}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_asked_about_once_in_a_while() {
    let fake = Arc::new(Fake::default());
    let authenticator = authenticator(&fake);
    let (good, bad) = (token(WEB, "istio-ca"), token("", "istio-ca"));
    let ask = async |token: &str| {
        let _ = authenticator.authenticate(&peer(None), Some(token)).await;
        fake.calls.load(Ordering::SeqCst)
    };
    assert_eq!(ask(&good).await, 1);
    assert_eq!(ask(&good).await, 1);
    assert_eq!(ask(&bad).await, 2);
    assert_eq!(ask(&bad).await, 2);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(ask(&good).await, 2);
    assert_eq!(ask(&bad).await, 3);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(ask(&good).await, 4);
}

#[tokio::test]
async fn a_dead_api_server_is_not_the_callers_fault() {
    let fake = Arc::new(Fake {
        down: true,
        ..Fake::default()
    });
    let error = authenticator(&fake)
        .authenticate(&peer(None), Some(&token(WEB, "istio-ca")))
        .await
        .expect_err("nobody to ask");
    assert_eq!(tonic::Status::from(error).code(), tonic::Code::Unavailable);
}

fn certificate(domain: &str) -> CertificateDer<'static> {
    let now = OffsetDateTime::now_utc();
    let material = root::create("cluster.local", root::LIFETIME, now).expect("made");
    let authority = Authority::new(&material, now).expect("usable");
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .expect("a request");
    let chain = authority
        .sign_workload(
            &SigningRequest::from_pem(&pem).expect("valid"),
            &Identity::new(domain, "shop", "web"),
            time::Duration::ZERO,
            TtlPolicy::default(),
            now,
        )
        .expect("signed");
    ironsail_runtime::tls::certificates(chain[0].as_bytes()).expect("PEM")[0].clone()
}

#[tokio::test]
async fn certificates_of_the_mesh_come_first() {
    let fake = Arc::new(Fake::default());
    let authenticator = authenticator(&fake);
    for domain in ["cluster.local", "old.local"] {
        let caller = authenticator
            .authenticate(
                &peer(Some(vec![certificate(domain)])),
                Some(&token(WEB, "istio-ca")),
            )
            .await
            .expect("verified");
        assert_eq!(
            (caller.proof, caller.identity.trust_domain.as_str()),
            (Proof::Certificate, domain)
        );
    }
    assert_eq!(fake.calls.load(Ordering::SeqCst), 0);
    let foreign = peer(Some(vec![certificate("elsewhere")]));
    assert!(authenticator.authenticate(&foreign, None).await.is_err());
    let caller = authenticator
        .authenticate(&foreign, Some(&token(WEB, "istio-ca")))
        .await
        .expect("by token");
    assert_eq!(caller.proof, Proof::Token);
}
