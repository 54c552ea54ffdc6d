//! Gateways: hosts, TLS, secrets.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironsail_sim::{Answer, Call, Mesh};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{apply, call, run, shop};

const HTTP: &str = "istio-ingressgateway.istio-system:80";
const HTTPS: &str = "istio-ingressgateway.istio-system:443";

/// An authority of a test, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("signs").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        (certificate.pem(), key.serialize_pem())
    }

    /// A Secret with a certificate for a name, and the authority for clients.
    fn secret(&self, name: &str, host: &str) -> String {
        let (certificate, key) = self.issue(host);
        let [certificate, key, root] =
            [&certificate, &key, &self.root].map(|pem| STANDARD.encode(pem));
        format!(
            "{{kind: Secret, metadata: {{name: {name}}}, type: kubernetes.io/tls, data: {{tls.crt: {certificate}, tls.key: {key}, ca.crt: {root}}}}}"
        )
    }
}

const CONFIG: &str = "
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [shop.example]
    tls: {httpsRedirect: true}
  - port: {number: 80, name: http-plain, protocol: HTTP}
    hosts: ['*.plain.example']
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 443, name: https-mutual, protocol: HTTPS}
    hosts: [admin.example]
    tls: {mode: MUTUAL, credentialName: admin}
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [through.example]
    tls: {mode: PASSTHROUGH}
---
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ['*']
  gateways: [shop]
  http:
  - match: [{uri: {prefix: /v2}}]
    rewrite: {uri: /}
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
---
kind: VirtualService
metadata: {name: through}
spec:
  hosts: [through.example]
  gateways: [shop]
  tls:
  - match: [{port: 443, sniHosts: [through.example]}]
    route: [{destination: {host: vault}}]
---
{kind: Service, metadata: {name: vault}, spec: {selector: {app: vault}, ports: [{name: tls, port: 443, targetPort: 8443}]}}
---
{kind: Deployment, metadata: {name: vault}, spec: {template: {metadata: {labels: {app: vault}}, spec: {containers: [{name: vault, image: vault, ports: [{containerPort: 8443}]}]}}}}
";

fn mesh(authority: &Authority) -> Mesh {
    let mut mesh = shop();
    for (name, host) in [("shop", "shop.example"), ("admin", "admin.example")] {
        apply(&mut mesh, "istio-system", &authority.secret(name, host));
    }
    apply(&mut mesh, "shop", CONFIG);
    mesh
}

#[test]
fn hosts_choose_the_server() {
    run(async {
        let mesh = mesh(&Authority::new());
        for (url, status, location) in [
            (
                "http://shop.example/a?b",
                301,
                Some("https://shop.example/a?b"),
            ),
            ("http://x.plain.example/", 200, None),
            ("http://x.plain.example:80/v2/x", 200, None),
            ("http://unknown.example/", 404, None),
        ] {
            let outcome = call(&mesh, Call::get(url).to(HTTP)).await;
            assert_eq!(outcome.status(), status, "{url}: {outcome}");
            assert_eq!(outcome.header("location"), location, "{url}");
        }
    });
}

#[test]
fn secrets_reach_the_gateway_and_end_tls() {
    run(async {
        let authority = Authority::new();
        let mesh = mesh(&authority);
        let call_to = |name: &str, http2: bool| {
            let call = Call::get(&format!("http://{name}/v2")).to(HTTPS);
            let call = if http2 { call.http2() } else { call };
            call.tls(name, &authority.root)
        };
        for http2 in [false, true] {
            let outcome = call(&mesh, call_to("shop.example", http2)).await;
            assert_eq!(outcome.text(), "web-v2", "{outcome}");
            let hop = outcome.hop("istio-ingressgateway");
            assert_eq!(hop.server_name, "shop.example");
            assert_eq!(hop.downstream_tls, "TLSv1.3");
            assert_eq!(outcome.served[0].header("x-forwarded-proto"), Some("https"));
        }
        // The server's name is nobody's.
        let outcome = call(&mesh, call_to("unknown.example", false)).await;
        assert!(matches!(outcome.answer, Answer::Handshake(_)), "{outcome}");
        // Another authority's root.
        let stranger = Authority::new();
        let outcome = Call::get("http://shop.example/")
            .to(HTTPS)
            .tls("shop.example", &stranger.root);
        let outcome = call(&mesh, outcome).await;
        assert!(matches!(outcome.answer, Answer::Handshake(_)), "{outcome}");
        // Plaintext to a port of TLS.
        let outcome = call(&mesh, Call::get("http://shop.example/").to(HTTPS)).await;
        assert_eq!(outcome.answer, Answer::Closed);
    });
}

#[test]
fn mutual_tls_wants_a_certificate_of_the_secrets_authority() {
    run(async {
        let authority = Authority::new();
        let mesh = mesh(&authority);
        let visit = || {
            Call::get("http://admin.example/")
                .to(HTTPS)
                .tls("admin.example", &authority.root)
        };
        let (certificate, key) = authority.issue("someone.example");
        let outcome = call(&mesh, visit().certificate(&certificate, &key)).await;
        assert_eq!(outcome.status(), 200, "{outcome}");
        let (certificate, key) = Authority::new().issue("someone.example");
        for visit in [visit(), visit().certificate(&certificate, &key)] {
            let outcome = call(&mesh, visit).await;
            assert_eq!(outcome.answer, Answer::Closed, "{outcome}");
            assert!(outcome.served.is_empty());
        }
    });
}

#[test]
fn a_missing_secret_closes_its_server_only() {
    run(async {
        let authority = Authority::new();
        let mut mesh = shop();
        apply(
            &mut mesh,
            "istio-system",
            &authority.secret("shop", "shop.example"),
        );
        apply(&mut mesh, "shop", CONFIG);
        // Longer than a new listener waits for its secrets.
        tokio::time::sleep(Duration::from_secs(16)).await;
        let visit = |name: &str| {
            Call::get(&format!("http://{name}/"))
                .to(HTTPS)
                .tls(name, &authority.root)
        };
        let outcome = call(&mesh, visit("shop.example")).await;
        assert_eq!(outcome.status(), 200, "{outcome}");
        let outcome = call(&mesh, visit("admin.example")).await;
        assert!(matches!(outcome.answer, Answer::Handshake(_)), "{outcome}");
        // It comes later.
        apply(
            &mut mesh,
            "istio-system",
            &authority.secret("admin", "admin.example"),
        );
        let (certificate, key) = authority.issue("someone.example");
        let outcome = call(
            &mesh,
            visit("admin.example").certificate(&certificate, &key),
        )
        .await;
        assert_eq!(outcome.status(), 200, "{outcome}");
    });
}

#[test]
fn passthrough_leaves_tls_to_the_application() {
    run(async {
        let authority = Authority::new();
        let mesh = mesh(&authority);
        let visit = Call::get("http://through.example/")
            .to(HTTPS)
            .tls("through.example", &authority.root);
        let outcome = call(&mesh, visit).await;
        // The application of the test ends no TLS; it saw the ClientHello as it was sent.
        assert_eq!(outcome.served.len(), 1, "{outcome}");
        assert!(outcome.served[0].body.contains("through.example"));
        let hop = outcome.hop("istio-ingressgateway");
        assert_eq!(hop.cluster, "outbound|443||vault.shop.svc.cluster.local");
        assert_eq!(hop.downstream_tls, "");
    });
}
