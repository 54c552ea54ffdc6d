//! Who may do what: every rule of every role, in order.
//!
//! A rule is written `groups: resources [names] verbs`; a verb is its first letter, and `I` stands for Istio's groups.

use serde_json::{Value, json};

use super::table::values;
use super::*;

const ISTIO: &str = "config.istio.io security.istio.io networking.istio.io authentication.istio.io rbac.istio.io \
                     telemetry.istio.io extensions.istio.io";

fn texts(rule: &Value, field: &str) -> Vec<String> {
    let list = rule[field].as_array().cloned().unwrap_or_default();
    let text = |item: &Value| item.as_str().expect("a text").to_owned();
    list.iter().map(text).collect()
}

fn line(rule: &Value) -> String {
    let groups = texts(rule, "apiGroups").join(" ");
    let groups = groups.replace(ISTIO, "I");
    let mut line = format!("{groups}: {}", texts(rule, "resources").join(" "));
    let names = texts(rule, "resourceNames");
    if !names.is_empty() {
        line += &format!(" [{}]", names.join(" "));
    }
    let verbs = texts(rule, "verbs");
    let verbs = verbs.iter().map(|verb| match verb.len() {
        0..=6 => verb[..1].to_owned(),
        _ => format!(" {verb}"),
    });
    format!("{line} {}", verbs.collect::<String>())
}

fn lines(spec: Value, name: &str) -> Vec<String> {
    let role = object(&rendered(stock(spec)), name);
    role["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(line)
        .collect()
}

#[track_caller]
fn check(spec: Value, name: &str, expected: &[&str]) {
    assert_eq!(lines(spec.clone(), name), expected, "{name} of {spec}");
}

const ISTIOD: &str = "ClusterRole istiod-clusterrole-istio-system";
const READER: &str = "ClusterRole istio-reader-clusterrole-istio-system";

const PLAIN: [&str; 24] = [
    "admissionregistration.k8s.io: mutatingwebhookconfigurations glwup",
    "admissionregistration.k8s.io: validatingwebhookconfigurations glwu",
    "I: * gwl",
    "networking.istio.io: workloadentries gwlupcd",
    "networking.istio.io: workloadentries/status serviceentries/status gwlupcd",
    "security.istio.io: authorizationpolicies/status gwlupcd",
    ": services/status gwlupcd",
    "apiextensions.k8s.io: customresourcedefinitions glw",
    ": pods nodes services namespaces endpoints glw",
    "discovery.k8s.io: endpointslices glw",
    "networking.k8s.io: ingresses ingressclasses glw",
    "networking.k8s.io: ingresses/status *",
    ": configmaps cglwu",
    "authentication.k8s.io: tokenreviews c",
    "authorization.k8s.io: subjectaccessreviews c",
    "gateway.networking.k8s.io gateway.networking.x-k8s.io: * gwl",
    "gateway.networking.x-k8s.io: xbackends/status xbackendtrafficpolicies/status up",
    "gateway.networking.k8s.io: backendtlspolicies/status gatewayclasses/status gateways/status grpcroutes/status \
     httproutes/status referencegrants/status tcproutes/status tlsroutes/status udproutes/status listenersets/status up",
    "gateway.networking.k8s.io: gatewayclasses cupd",
    "inference.networking.k8s.io: inferencepools gwl",
    "inference.networking.k8s.io: inferencepools/status up",
    ": secrets gwl",
    "multicluster.x-k8s.io: serviceexports gwlcd",
    "multicluster.x-k8s.io: serviceimports gwl",
];

const SIGNING: &str = "certificates.k8s.io: certificatesigningrequests certificatesigningrequests/approval \
                       certificatesigningrequests/status ucgdw";

/// The plain rules with some more behind one of them.
fn with<'a>(after: &str, more: &[&'a str]) -> Vec<&'a str> {
    let at = PLAIN.iter().position(|rule| rule.starts_with(after));
    let (before, behind) = PLAIN.split_at(at.expect(after) + 1);
    [before, more, behind].concat()
}

#[test]
#[rustfmt::skip]
fn the_control_plane() {
    check(json!({}), ISTIOD, &PLAIN);
    let env = |name: &str, value: Value| values(json!({"pilot": {"env": {name: value}}}));
    for (spec, after, more) in [
        (values(json!({"pilot": {"taint": {"enabled": true}}})), "discovery", vec![": nodes p"]),
        (env("EXTERNAL_CA", json!("ISTIOD_RA_KUBERNETES_API")), ": configmaps", vec![SIGNING, "certificates.k8s.io: signers  approve"]),
        (values(json!({"global": {"pilotCertProvider": "k8s.io/x", "certSigners": ["a/b", "c/d"]}})), ": configmaps", vec![SIGNING, "certificates.k8s.io: signers [a/b c/d]  approve"]),
        (values(json!({"global": {"pilotCertProvider": "custom"}})), ": configmaps", vec![]),
        (values(json!({"global": {"pilotCertProvider": "none"}})), ": configmaps", vec![]),
        (env("ENABLE_CLUSTER_TRUST_BUNDLE_API", json!(true)), ": configmaps", vec!["certificates.k8s.io: clustertrustbundles ucdlwg", "certificates.k8s.io: signers [istio.io/istiod-ca] a"]),
    ] {
        check(spec, ISTIOD, &with(after, &more));
    }
    let services = lines(env("MCS_API_GROUP", json!("mcs.example")), ISTIOD);
    assert_eq!(services[22..], ["mcs.example: serviceexports gwlcd", "mcs.example: serviceimports gwl"]);
}

#[test]
#[rustfmt::skip]
fn the_control_plane_that_analyzes() {
    let found = lines(values(json!({"global": {"istiod": {"enableAnalysis": true}}})), ISTIOD);
    assert_eq!(
        found[3],
        "I: authorizationpolicies/status destinationrules/status envoyfilters/status gateways/status \
         peerauthentications/status proxyconfigs/status requestauthentications/status serviceentries/status \
         sidecars/status telemetries/status virtualservices/status wasmplugins/status workloadentries/status \
         workloadgroups/status up"
    );
    assert_eq!(found[11..13], ["extensions networking.k8s.io: ingresses glw", "extensions networking.k8s.io: ingresses/status *"]);
    assert_eq!(found.len(), PLAIN.len() + 3);
}

#[test]
#[rustfmt::skip]
fn the_other_roles() {
    let reader = [
        "I: * glw", ": endpoints pods services nodes replicationcontrollers namespaces secrets configmaps glw",
        "networking.istio.io: workloadentries gwl", "networking.x-k8s.io gateway.networking.k8s.io: gateways gwl",
        "apiextensions.k8s.io: customresourcedefinitions glw", "discovery.k8s.io: endpointslices glw",
        "multicluster.x-k8s.io: serviceexports glwcd", "multicluster.x-k8s.io: serviceimports glw",
        "apps: replicasets glw", "authentication.k8s.io: tokenreviews c", "authorization.k8s.io: subjectaccessreviews c",
    ];
    check(json!({}), READER, &reader);
    let remote = [
        ": configmaps cglwu", "admissionregistration.k8s.io: mutatingwebhookconfigurations glwup",
        "admissionregistration.k8s.io: validatingwebhookconfigurations glwu",
    ];
    check(json!({"profile": "remote"}), READER, &[&reader[..], &remote[..]].concat());
    check(json!({}), "ClusterRole istiod-gateway-controller-istio-system", &[
        "apps: deployments gwlupcd", "autoscaling: horizontalpodautoscalers gwlupcd",
        "policy: poddisruptionbudgets gwlupcd", ": services gwlupcd", ": serviceaccounts gwlupcd",
    ]);
    check(json!({}), "Role istiod", &[
        "networking.istio.io: gateways c", ": secrets cgwlud", ": configmaps d", "coordination.k8s.io: leases gupc",
    ]);
    check(json!({}), "Role istio-ingressgateway-sds", &[": secrets gwl"]);
    let cni = |values: Value| json!({"components": {"cni": {}}, "values": {"cni": values}});
    let privileged = "security.openshift.io: securitycontextconstraints [privileged] u";
    let agent = ": pods nodes namespaces glw";
    check(cni(json!({})), "ClusterRole istio-cni", &[agent]);
    check(json!({"profile": "openshift"}), "ClusterRole istio-cni", &[agent, privileged]);
    check(json!({"unvalidatedValues": {"platform": "openshift"}, "components": {"cni": {}}}), "ClusterRole istio-cni", &[agent, privileged]);
    check(json!({"profile": "openshift-ambient"}), "ClusterRole ztunnel", &[privileged]);
    check(json!({"profile": "ambient"}), "ClusterRole istio-cni-ambient", &[": pods/status pu", "apps: daemonsets [istio-cni-node] g"]);
    let repair = [": events cp", ": pods wgl"];
    for (settings, more) in [
        (json!({}), vec![]),
        (json!({"repairPods": false}), vec![]),
        (json!({"repairPods": false, "labelPods": true}), vec![": pods/status pu"]),
        (json!({"repairPods": false, "labelPods": true, "deletePods": true}), vec![": pods d"]),
        (json!({"labelPods": true, "deletePods": true}), vec![]),
    ] {
        check(cni(json!({"repair": settings})), "ClusterRole istio-cni-repair-role", &[&repair[..], &more[..]].concat());
    }
}

/// Whom the roles are given to.
#[test]
#[rustfmt::skip]
fn subjects() {
    let account = |name: &str, namespace: &str| json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]);
    let in_mesh = || values(json!({"global": {"istioNamespace": "mesh"}}));
    for (spec, name, expected) in [
        (json!({}), "ClusterRoleBinding istiod-clusterrole-istio-system", account("istiod", "istio-system")),
        (json!({"revision": "canary"}), "ClusterRoleBinding istiod-clusterrole-canary-istio-system", account("istiod-canary", "istio-system")),
        (json!({"revision": "canary"}), "ClusterRoleBinding istiod-gateway-controller-canary-istio-system", account("istiod-canary", "istio-system")),
        (in_mesh(), "ClusterRoleBinding istiod-clusterrole-mesh", account("istiod", "mesh")),
        (in_mesh(), "ClusterRoleBinding istio-reader-clusterrole-mesh", account("istio-reader-service-account", "mesh")),
        (json!({"revision": "canary"}), "RoleBinding istiod-canary", account("istiod-canary", "istio-system")),
        (values(json!({"global": {"readerServiceAccount": {"name": "own", "namespace": "far"}}})), "ClusterRoleBinding istio-reader-clusterrole-istio-system", account("own", "far")),
        (values(json!({"global": {"readerServiceAccount": {"name": "own"}}})), "ClusterRoleBinding istio-reader-clusterrole-istio-system", account("own", "istio-system")),
        (json!({}), "RoleBinding istio-ingressgateway-sds", json!([{"kind": "ServiceAccount", "name": "istio-ingressgateway-service-account"}])),
        (json!({"components": {"cni": {"namespace": "kube-system"}}}), "ClusterRoleBinding istio-cni", account("istio-cni", "kube-system")),
        (json!({"components": {"cni": {"namespace": "kube-system"}}}), "ClusterRoleBinding istio-cni-repair-rolebinding", account("istio-cni", "kube-system")),
    ] {
        assert_eq!(object(&rendered(stock(spec.clone())), name)["subjects"], expected, "{name} of {spec}");
    }
}
