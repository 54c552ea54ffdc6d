//! Objects of the components Base and Pilot.

use serde_json::{Value, json};

use super::table::{POD, check_content, check_presence, names, values};
use super::*;

const VAP: &str = "ValidatingAdmissionPolicy stable-channel-policy-istio-system.istio.io";

#[test]
#[rustfmt::skip]
fn base() {
    let stable =
        json!({"experimental": {"stableValidationPolicy": true}, "defaultRevision": "canary"});
    check_presence(&[
        (json!({}), "CustomResourceDefinition gateways.networking.istio.io", true),
        (values(json!({"base": {"excludedCRDs": ["gateways.networking.istio.io"]}})), "CustomResourceDefinition gateways.networking.istio.io", false),
        (values(json!({"base": {"enableIstioConfigCRDs": false}})), "CustomResourceDefinition gateways.networking.istio.io", true),
        (json!({}), "ServiceAccount istio-reader-service-account", true),
        (values(json!({"global": {"readerServiceAccount": {"name": "own"}}})), "ServiceAccount istio-reader-service-account", false),
        (json!({}), "ValidatingWebhookConfiguration istiod-default-validator", false),
        (values(stable.clone()), "ValidatingWebhookConfiguration istiod-default-validator", true),
        (values(stable.clone()), "ValidatingAdmissionPolicy stable-channel-default-policy.istio.io", true),
        (json!({"profile": "stable"}), "ValidatingAdmissionPolicy stable-channel-default-policy.istio.io", false),
        (values(stable.clone()), "ValidatingAdmissionPolicyBinding stable-channel-default-policy-binding.istio.io", true),
    ]);
    let validator = "ValidatingWebhookConfiguration istiod-default-validator";
    let policy = "ValidatingAdmissionPolicy stable-channel-default-policy.istio.io";
    check_content(&[
        (values(stable.clone()), validator, "/webhooks/0/name", json!("validation.istio.io")),
        (values(stable.clone()), validator, "/webhooks/0/clientConfig/service/name", json!("istiod-canary")),
        (values(json!({"defaultRevision": "default"})), validator, "/webhooks/0/clientConfig/service/name", json!("istiod")),
        (values(stable.clone()), validator, "/webhooks/0/objectSelector", Value::Null),
        (values(stable.clone()), policy, "/metadata/labels/istio.io~1rev", json!("canary")),
        (values(stable), policy, "/spec/matchConstraints/objectSelector", Value::Null),
        (values(json!({"base": {"enableCRDTemplates": false}})), "CustomResourceDefinition gateways.networking.istio.io", "/metadata/labels/helm.sh~1chart", json!("base-1.0.0")),
    ]);
}

#[test]
#[rustfmt::skip]
fn pilot() {
    check_presence(&[
        (json!({}), "HorizontalPodAutoscaler istiod", true),
        (values(json!({"pilot": {"autoscaleMin": 0}})), "HorizontalPodAutoscaler istiod", false),
        (values(json!({"pilot": {"autoscaleEnabled": false}})), "HorizontalPodAutoscaler istiod", false),
        (json!({}), "PodDisruptionBudget istiod", false),
        (values(json!({"pilot": {"autoscaleMin": 2}})), "PodDisruptionBudget istiod", true),
        (values(json!({"pilot": {"autoscaleMin": 2}, "global": {"defaultPodDisruptionBudget": {"enabled": false}}})), "PodDisruptionBudget istiod", false),
        (json!({}), "ClusterRole istiod-gateway-controller-istio-system", true),
        (values(json!({"pilot": {"env": {"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "false"}}})), "ClusterRole istiod-gateway-controller-istio-system", false),
        (values(json!({"global": {"enableReaderRBAC": false}})), "ClusterRole istio-reader-clusterrole-istio-system", false),
        (values(json!({"pilot": {"configMap": false}})), "ConfigMap istio", false),
        (values(json!({"global": {"omitSidecarInjectorConfigMap": true}})), "ConfigMap istio-sidecar-injector", false),
        (json!({}), "ConfigMap values", true),
        (json!({}), "ConfigMap pilot-jwks-extra-cacerts", false),
        (json!({"profile": "stable"}), VAP, true),
        (json!({}), VAP, false),
        (json!({}), "NetworkPolicy istiod", false),
        (values(json!({"global": {"operatorManageWebhooks": true}, "revisionTags": ["prod"]})), "MutatingWebhookConfiguration istio-revision-tag-prod", false),
        (values(json!({"global": {"istioNamespace": "mesh"}, "revisionTags": ["prod"]})), "MutatingWebhookConfiguration istio-revision-tag-prod-mesh", true),
        (values(json!({"global": {"istioNamespace": "mesh"}})), "MutatingWebhookConfiguration istio-sidecar-injector-mesh", true),
    ]);
    let canary = |more: Value| {
        let mut spec = json!({"revision": "canary"});
        crate::value::merge(&mut spec, &more);
        spec
    };
    let webhook = "MutatingWebhookConfiguration istio-sidecar-injector";
    let validator = "ValidatingWebhookConfiguration istio-validator-istio-system";
    check_content(&[
        (json!({}), "Service istiod", "/spec/selector", json!({"app": "istiod", "istio": "pilot"})),
        (canary(json!({})), "Service istiod-canary", "/spec/selector", json!({"app": "istiod", "istio.io/rev": "canary"})),
        (values(json!({"pilot": {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}})), "Service istiod", "/spec/ipFamilies", json!(["IPv6"])),
        (json!({"unvalidatedValues": {"pilot": {"trafficDistribution": "PreferClose"}}}), "Service istiod", "/spec/trafficDistribution", json!("PreferClose")),
        (json!({}), "HorizontalPodAutoscaler istiod", "/spec/maxReplicas", json!(5)),
        (values(json!({"pilot": {"memory": {"targetAverageUtilization": 70}}})), "HorizontalPodAutoscaler istiod", "/spec/metrics/1/resource/name", json!("memory")),
        (values(json!({"pilot": {"autoscaleMin": 2, "pdb": {"maxUnavailable": 1}}})), "PodDisruptionBudget istiod", "/spec/minAvailable", Value::Null),
        (json!({"values": {"pilot": {"autoscaleMin": 2, "pdb": {"maxUnavailable": 1}}}, "components": {"pilot": {"k8s": {"podDisruptionBudget": {"minAvailable": 3}}}}}), "PodDisruptionBudget istiod", "/spec/minAvailable", Value::Null),
        (values(json!({"pilot": {"autoscaleMin": "2"}})), "HorizontalPodAutoscaler istiod", "/spec/minReplicas", json!(2)),
        (values(json!({"pilot": {"podLabels": {"a": true}, "deploymentLabels": {"b": 1}}})), "Deployment istiod", "/spec/template/metadata/labels/a", json!("true")),
        (values(json!({"pilot": {"podLabels": {"a": true}, "deploymentLabels": {"b": 1}}})), "Deployment istiod", "/metadata/labels/b", json!("1")),
        (json!({"components": {"pilot": {"k8s": {"strategy": {"type": "Recreate"}}}}}), "Deployment istiod", "/spec/strategy", json!({"type": "Recreate"})),
        (json!({"components": {"pilot": {"k8s": {"service": {"ports": [{"port": 15010, "nodePort": 31010}]}}}}}), "Service istiod", "/spec/ports/0", json!({"port": 15010, "name": "grpc-xds", "protocol": "TCP", "nodePort": 31010})),
        (json!({}), webhook, "/webhooks/0/clientConfig/service/path", json!("/inject")),
        (values(json!({"istiodRemote": {"injectionURL": "https://x/inject"}})), webhook, "/webhooks/0/clientConfig/url", json!("https://x/inject")),
        (values(json!({"istiodRemote": {"injectionURL": "https://x/inject"}})), webhook, "/webhooks/0/clientConfig/service", Value::Null),
        (values(json!({"istiodRemote": {"injectionCABundle": "QQ=="}})), webhook, "/webhooks/0/clientConfig/caBundle", json!("QQ==")),
        (values(json!({"sidecarInjectorWebhook": {"reinvocationPolicy": "IfNeeded"}})), webhook, "/webhooks/0/reinvocationPolicy", json!("IfNeeded")),
        (json!({}), webhook, "/webhooks/0/failurePolicy", json!("Fail")),
        (json!({}), validator, "/webhooks/0/failurePolicy", json!("Ignore")),
        (json!({}), validator, "/webhooks/0/objectSelector/matchExpressions/0/values", json!(["default"])),
        (values(json!({"base": {"validationCABundle": "QQ=="}})), validator, "/webhooks/0/failurePolicy", json!("Fail")),
        (values(json!({"base": {"validationURL": "https://x/validate"}})), validator, "/webhooks/0/clientConfig/url", json!("https://x/validate")),
        (json!({"unvalidatedValues": {"base": {"validationFailurePolicy": "Fail"}}}), validator, "/webhooks/0/failurePolicy", json!("Fail")),
        (json!({"profile": "stable"}), VAP, "/spec/matchConstraints/objectSelector/matchExpressions/0/values", json!(["default"])),
        (json!({"profile": "stable"}), VAP, "/spec/variables/4/name", json!("isAuthorizationPolicy")),
        (json!({"profile": "stable"}), VAP, "/spec/failurePolicy", json!("Fail")),
        (json!({"profile": "stable"}), "ValidatingAdmissionPolicyBinding stable-channel-policy-binding-istio-system.istio.io", "/spec/validationActions", json!(["Deny"])),
        (json!({"profile": "stable"}), "ValidatingAdmissionPolicyBinding stable-channel-policy-binding-istio-system.istio.io", "/metadata/labels", Value::Null),
        (values(json!({"global": {"networkPolicy": {"enabled": true}}})), "NetworkPolicy istiod", "/spec/ingress/0/ports/0/port", json!(15017)),
        (values(json!({"global": {"networkPolicy": {"enabled": true}}})), "NetworkPolicy istiod", "/spec/ingress/1/ports/4", json!({"port": 15014, "protocol": "TCP"})),
        (values(json!({"global": {"networkPolicy": {"enabled": true}}})), "NetworkPolicy istiod", "/spec/egress", json!([{}])),
        (values(json!({"global": {"networkPolicy": {"enabled": true}}})), "NetworkPolicy istiod", "/spec/podSelector/matchLabels", json!({"app": "istiod", "istio.io/rev": "default"})),
        (values(json!({"pilot": {"autoscaleMin": 2, "pdb": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}})), "PodDisruptionBudget istiod", "/spec/unhealthyPodEvictionPolicy", json!("AlwaysAllow")),
        (values(json!({"gatewayClasses": {"istio": {"deployment": {"spec": {"replicas": 2}}}}})), "ConfigMap istio-default-gatewayclass-istio", "/metadata/labels/gateway.istio.io~1defaults-for-class", json!("istio")),
        (values(json!({"ownerName": "me"})), "Service istiod", "/metadata/labels/install.operator.istio.io~1owning-resource", json!("me")),
        (json!({}), "Deployment istiod", "/metadata/labels/helm.sh~1chart", json!("istiod-1.32.0")),
    ]);
}

#[test]
#[rustfmt::skip]
fn the_environment_of_istiod() {
    let spec = stock(json!({"compatibilityVersion": "1.30", "values": {
        "pilot": {"env": {"A": true, "COMPLIANCE_POLICY": "fips-140-3"}, "envVarFrom": [{"name": "FROM", "value": "x"}],
            "taint": {"enabled": true}, "crlConfigMapName": "crl", "traceSampling": 0.5},
        "global": {"externalIstiod": true, "trustBundleName": "roots", "platform": "k3d",
            "multiCluster": {"clusterName": "west"}},
    }}));
    let deployment = object(&rendered(spec), "Deployment istiod");
    assert_eq!(
        names(&deployment, &format!("{POD}/containers/0/env")),
        [
            "REVISION",
            "PILOT_CERT_PROVIDER",
            "POD_NAME",
            "POD_NAMESPACE",
            "SERVICE_ACCOUNT",
            "KUBECONFIG",
            "CA_TRUSTED_NODE_ACCOUNTS",
            "A",
            "COMPLIANCE_POLICY",
            "PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS",
            "PILOT_ENABLE_STRICT_GATEWAY_MERGING",
            "PILOT_SPAWN_UPSTREAM_SPAN_FOR_GATEWAY",
            "GODEBUG",
            "FROM",
            "PILOT_TRACE_SAMPLING",
            "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS",
            "PILOT_NODE_UNTAINT_CONTROLLERS_TAINT_NAME",
            "EXTERNAL_ISTIOD",
            "PILOT_CA_CERT_CONFIGMAP",
            "PILOT_CRL_CONFIGMAP",
            "PILOT_ENABLE_ANALYSIS",
            "CLUSTER_ID",
            "PLATFORM",
        ]
    );
}

#[test]
#[rustfmt::skip]
fn the_root_certificate_from_a_trust_bundle() {
    // A boolean, as the peer wants it, and text, which it can't read.
    for on in [json!(true), json!("true")] {
        let spec = stock(values(
            json!({"pilot": {"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": on}}}),
        ));
        let rendered = rendered(spec);
        let bundle = |name: &str, volume: &str| {
            let object = object(&rendered, name);
            let volumes = object
                .pointer(&format!("{POD}/volumes"))
                .cloned()
                .expect("volumes");
            let found = volumes
                .as_array()
                .expect("a list")
                .iter()
                .find(|v| v["name"] == volume);
            found.expect(volume)["projected"]["sources"][0]["clusterTrustBundle"].clone()
        };
        let expected = json!({"name": "istio.io:istiod-ca:root-cert", "path": "root-cert.pem", "optional": true});
        assert_eq!(
            bundle("Deployment istiod", "istio-csr-ca-configmap"),
            expected
        );
        let expected = json!({"name": "istio.io:istiod-ca:root-cert", "path": "root-cert.pem"});
        assert_eq!(
            bundle("Deployment istio-ingressgateway", "istiod-ca-cert"),
            expected
        );
        let rules =
            object(&rendered, "ClusterRole istiod-clusterrole-istio-system")["rules"].clone();
        let rules = rules.as_array().expect("rules").clone();
        assert!(
            rules
                .iter()
                .any(|rule| rule["resources"] == json!(["clustertrustbundles"]))
        );
        assert!(
            rules
                .iter()
                .any(|rule| rule["resourceNames"] == json!(["istio.io/istiod-ca"]))
        );
    }
}
