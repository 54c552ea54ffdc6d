//! The PROXY protocol: gateways behind load balancers, and servers that want to know the client.

use ironsail_sim::{Answer, Call, Mesh};

use crate::support::{SHOP, apply, call, injected, run, shop};

const INSTALL: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: demo, namespace: istio-system}
spec:
  profile: demo
  meshConfig:
    defaultConfig:
      gatewayTopology: {proxyProtocol: {}}
";

const CONFIG: &str = "
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ['*']
  gateways: [shop]
  http:
  - route: [{destination: {host: web}}]
";

#[test]
fn gateways_learn_the_client_from_their_load_balancer() {
    run(async {
        let mut mesh = Mesh::install(INSTALL).expect("installs");
        apply(&mut mesh, "shop", &injected("shop"));
        apply(&mut mesh, "shop", SHOP);
        apply(&mut mesh, "shop", CONFIG);
        let request = "GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n";
        let to = "istio-ingressgateway.istio-system:80";
        let header = "PROXY TCP4 203.0.113.9 198.51.100.1 4000 80\r\n";
        let outcome = call(&mesh, Call::tcp(to, &format!("{header}{request}"))).await;
        assert!(outcome.text().starts_with("HTTP/1.1 200 "), "{outcome}");
        let forwarded = outcome.served[0].header("x-forwarded-for");
        assert_eq!(forwarded, Some("203.0.113.9"));
        // Who comes without the header gets nothing.
        let outcome = call(&mesh, Call::tcp(to, request)).await;
        assert_eq!((outcome.answer, outcome.served.len()), (Answer::Closed, 0));
    });
}

#[test]
fn servers_are_told_the_client_where_a_rule_says_so() {
    run(async {
        let mut mesh = shop();
        apply(
            &mut mesh,
            "shop",
            "
{kind: Deployment, metadata: {name: mail}, spec: {template: {metadata: {labels: {app: mail, sidecar.istio.io/inject: 'false'}}, spec: {containers: [{name: mail, image: mail, ports: [{containerPort: 9000}]}]}}}}
---
{kind: Service, metadata: {name: mail}, spec: {selector: {app: mail}, ports: [{name: tcp, port: 9000}]}}
---
{kind: DestinationRule, metadata: {name: mail}, spec: {host: mail, trafficPolicy: {proxyProtocol: {version: V1}}}}
",
        );
        let outcome = call(&mesh, Call::tcp("mail:9000", "hello\n").from("client")).await;
        assert_eq!(outcome.served.len(), 1, "{outcome}");
        let body = &outcome.served[0].body;
        assert!(body.starts_with("PROXY TCP4 "), "{body}");
        assert!(
            body.ends_with(" 9000\r\n") || body.ends_with(" 9000\r\nhello\n"),
            "{body}"
        );
    });
}
