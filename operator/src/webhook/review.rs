//! What the webhook says about one IstioOperator: pure.

use std::collections::HashSet;

use ironsail_crds::Diagnostic;
use ironsail_crds::validate::operator::validate;
use serde_json::Value;

use crate::component::Component;
use crate::render::{Context, render_unchecked};

/// What an author is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Why the object is refused; empty if it is not.
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    /// What would be installed; empty if nothing new would.
    pub components: Vec<Component>,
}

/// Judges a new object, or the change of an old one, as a reconciliation would.
///
/// A change of anything but the spec is never refused, nor that of an object which is being
/// deleted. What was wrong before is a warning, so that stored objects stay changeable.
pub fn judge(old: Option<&Value>, new: &Value, context: &Context) -> Opinion {
    let deleted = new.pointer("/metadata/deletionTimestamp");
    let same = old.is_some_and(|old| old.get("spec") == new.get("spec"));
    if same || deleted.is_some_and(|time| !time.is_null()) {
        return Opinion::default();
    }
    let found = Findings::of(new, context);
    let (mut errors, mut warnings): (Vec<_>, Vec<_>) =
        found.list.into_iter().partition(Diagnostic::is_error);
    if let Some(old) = old {
        let old = Findings::of(old, context);
        // Before, nobody saw what only rendering finds.
        let hidden = found.rendered && !old.rendered;
        let known: HashSet<_> = old.list.iter().map(name).collect();
        let tolerated = errors.extract_if(.., |error| hidden || known.contains(&name(error)));
        warnings.extend(tolerated);
    }
    Opinion {
        errors,
        warnings,
        components: found.components,
    }
}

struct Findings {
    list: Vec<Diagnostic>,
    /// Whether the object was good enough to be rendered.
    rendered: bool,
    components: Vec<Component>,
}

impl Findings {
    fn of(object: &Value, context: &Context) -> Self {
        let mut list = validate(object);
        if list.iter().any(Diagnostic::is_error) {
            return Self {
                list,
                rendered: false,
                components: Vec::new(),
            };
        }
        let (mut more, components) = match render_unchecked(object, context) {
            Ok(rendered) => (rendered.warnings, rendered.components),
            Err(findings) => (findings, Vec::new()),
        };
        list.append(&mut more);
        Self {
            list,
            rendered: true,
            components,
        }
    }
}

/// A finding wherever it moves in its list.
fn name(finding: &Diagnostic) -> (String, String) {
    let outside = |part: &str| part.split_once(']').map_or("", |(_, rest)| rest).to_owned();
    let mut parts = finding.path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    let path = parts.fold(first, |path, part| path + "[]" + &outside(part));
    (path, finding.message.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: Value) -> Value {
        json!({
            "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": {"name": "demo", "namespace": "istio-system"}, "spec": spec,
        })
    }

    fn judge_spec(old: Option<Value>, new: Value) -> Opinion {
        judge(old.map(object).as_ref(), &object(new), &Context::default())
    }

    fn paths(findings: &[Diagnostic]) -> Vec<&str> {
        findings.iter().map(|found| found.path.as_str()).collect()
    }

    #[track_caller]
    fn check_refused(old: Option<Value>, new: Value, expected: &[&str]) {
        assert_eq!(paths(&judge_spec(old, new).errors), expected);
    }

    #[test]
    fn a_block_on_the_wrong_level_is_named() {
        let k8s = json!({"serviceAnnotations": {"cloud.google.com/neg": "{}"}});
        let spec = json!({"components": {"ingressGateways": [{"name": "a"}], "k8s": k8s}});
        check_refused(None, spec, &["spec.components.k8s"]);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let spec = json!({"hubb": "x", "revision": "A_b", "values": {"pilot": {"nonsense": 1}}});
        let expected = ["spec.hubb", "spec.revision", "spec.values.pilot.nonsense"];
        let opinion = judge_spec(None, spec);
        let mut found = paths(&opinion.errors);
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_only_rendering_finds_is_named() {
        let opinion = judge_spec(None, json!({"compatibilityVersion": "0.1"}));
        assert_eq!(opinion.errors.len(), 1, "{opinion:?}");
        assert!(
            judge_spec(None, json!({"profile": "none such"}))
                .errors
                .len()
                == 1
        );
    }

    #[test]
    fn legacy_forms_are_warnings() {
        let spec = json!({
            "installPackagePath": "/x",
            "addonComponents": {"grafana": {"enabled": false}},
            "components": {"telemetry": {"enabled": true}},
            "values": {"mixer": {}, "global": {"mtls": {"enabled": true}}},
        });
        let opinion = judge_spec(None, spec);
        assert_eq!(opinion.errors, []);
        for path in [
            "spec.installPackagePath",
            "spec.addonComponents",
            "spec.components.telemetry",
            "spec.values.mixer",
            "spec.values.global.mtls",
        ] {
            let found = paths(&opinion.warnings);
            assert!(found.contains(&path), "{path} is not in {found:?}");
        }
    }

    /// What versions 1.5 to 1.21 had in values, as their users wrote it.
    #[test]
    fn values_of_all_times_are_accepted() {
        let spec: Value = serde_yaml_ng::from_str(LEGACY).expect("YAML");
        let opinion = judge_spec(None, spec);
        assert_eq!(opinion.errors, []);
        let found = paths(&opinion.warnings);
        for path in [
            "spec.values.galley",
            "spec.values.istio_cni",
            "spec.values.clusterResources",
            "spec.values.gateways.istio-ingressgateway.zvpn",
            "spec.values.gateways.istio-ingressgateway.sds",
            "spec.values.global.outboundTrafficPolicy",
            "spec.values.global.proxy.accessLogFile",
            "spec.values.global.k8sIngress",
            "spec.values.sidecarInjectorWebhook.objectSelector",
            "spec.values.telemetry.v2.metadataExchange",
        ] {
            assert!(found.contains(&path), "{path} is not in {found:?}");
        }
    }

    const LEGACY: &str = "
values:
  version: ''
  clusterResources: true
  galley: {enabled: false}
  security: {enabled: false}
  nodeagent: {enabled: false}
  mixer: {policy: {enabled: false}, telemetry: {enabled: false}}
  grafana: {enabled: false}
  kiali: {enabled: false}
  tracing: {enabled: false}
  prometheus: {enabled: false}
  istiocoredns: {enabled: false}
  istio_cni: {enabled: false, chained: true}
  pilot:
    replicaCount: 1
    resources: {requests: {cpu: 500m}}
    env: {PILOT_TRACE_SAMPLING: '1'}
    nodeSelector: {disk: ssd}
    tolerations: [{operator: Exists}]
    podAnnotations: {a: b}
    rollingMaxSurge: 100%
    rollingMaxUnavailable: 25%
    cpu: {targetAverageUtilization: 80}
  gateways:
    istio-ingressgateway:
      type: LoadBalancer
      ports: [{name: http2, port: 80, targetPort: 8080}]
      serviceAnnotations: {a: b}
      loadBalancerIP: 1.2.3.4
      loadBalancerSourceRanges: [10.0.0.0/8]
      externalTrafficPolicy: Local
      resources: {requests: {cpu: 100m}}
      autoscaleEnabled: true
      autoscaleMin: 1
      autoscaleMax: 5
      podAnnotations: {a: b}
      secretVolumes: [{name: c, secretName: d, mountPath: /e}]
      env: {X: 'y'}
      nodeSelector: {disk: ssd}
      zvpn: {enabled: true}
      meshExpansionPorts: []
      sds: {enabled: false}
      debug: info
      domain: ''
      applicationPorts: ''
  global:
    arch: {amd64: 2}
    mtls: {enabled: true, auto: true}
    proxy: {accessLogFile: /dev/stdout, concurrency: 2}
    outboundTrafficPolicy: {mode: ALLOW_ANY}
    enableTracing: true
    meshExpansion: {enabled: false}
    k8sIngress: {enabled: false}
    trustDomain: cluster.local
    localityLbSetting: {enabled: true}
    useMCP: false
    oneNamespace: false
    jwtPolicy: third-party-jwt
    centralIstiod: false
    defaultNodeSelector: {}
    controlPlaneSecurityEnabled: true
    disablePolicyChecks: true
  telemetry:
    v2:
      metadataExchange: {wasmEnabled: false}
      prometheus: {enabled: true, wasmEnabled: false}
  sidecarInjectorWebhook:
    objectSelector: {enabled: false}
    injectLabel: istio-injection
";

    #[test]
    fn an_overlay_makes_no_object_of_another_kind() {
        let patch = |path: &str, value: &str| {
            let overlay = json!({
                "kind": "Deployment", "name": "istiod",
                "patches": [{"path": path, "value": value}],
            });
            json!({"components": {"pilot": {"k8s": {"overlays": [overlay]}}}})
        };
        let at = "spec.components.pilot.k8s.overlays[0].patches[0]";
        check_refused(None, patch("kind", "Pod"), &[at]);
        check_refused(None, patch("apiVersion", "batch/v1"), &[at]);
        check_refused(None, patch("spec.paused", "true"), &[]);
    }

    #[test]
    fn what_was_wrong_before_stays_changeable() {
        let wrong = |more: Value| {
            let mut spec = json!({"nonsense": 1});
            crate::value::merge(&mut spec, &more);
            spec
        };
        let old = || Some(wrong(json!({})));
        check_refused(old(), wrong(json!({"profile": "minimal"})), &[]);
        check_refused(old(), wrong(json!({"another": 1})), &["spec.another"]);
        check_refused(old(), json!({"profile": "minimal"}), &[]);
        let tolerated = judge_spec(old(), wrong(json!({"profile": "minimal"})));
        assert_eq!(paths(&tolerated.warnings), ["spec.nonsense"]);
    }

    #[test]
    fn what_was_wrong_before_may_move_in_its_list() {
        let gateways = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"components": {"ingressGateways": list}})
        };
        let (old, new) = (gateways(&["A"]), gateways(&["b", "A"]));
        check_refused(
            None,
            new.clone(),
            &["spec.components.ingressGateways[1].name"],
        );
        check_refused(Some(old), new, &[]);
    }

    #[test]
    fn mending_one_thing_does_not_need_mending_all() {
        let old = json!({"nonsense": 1, "profile": "none such"});
        check_refused(Some(old), json!({"profile": "none such"}), &[]);
        let valid = json!({"profile": "minimal"});
        let opinion = judge_spec(Some(valid), json!({"profile": "none such"}));
        assert_eq!(opinion.errors.len(), 1, "{opinion:?}");
    }

    /// The webhook judges by the same lists as a reconciliation.
    #[test]
    fn the_era_of_lists_counts() {
        let annotated = |era: &str| {
            let mut object = object(json!({"components": {"egressGateways": [{"name": "own"}]}}));
            object["metadata"]["annotations"] = json!({crate::list_merge::ANNOTATION: era});
            judge(None, &object, &Context::default())
        };
        let has_egress = |opinion: Opinion| opinion.components.contains(&Component::EgressGateways);
        assert!(has_egress(annotated("Replace")));
        assert!(!has_egress(annotated("ByName")));
        let wrong = annotated("Nonsense");
        let at = format!("metadata.annotations[{}]", crate::list_merge::ANNOTATION);
        assert_eq!(paths(&wrong.errors), [at]);
    }

    #[test]
    fn metadata_and_deleted_objects_are_never_refused() {
        let wrong = object(json!({"nonsense": 1}));
        let context = Context::default();
        let mut patched = wrong.clone();
        patched["metadata"]["finalizers"] = json!([]);
        patched["status"] = json!({"status": "ERROR"});
        assert_eq!(judge(Some(&wrong), &patched, &context), Opinion::default());
        let mut deleted = object(json!({"other": 1}));
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(judge(Some(&wrong), &deleted, &context), Opinion::default());
    }
}
