//! Who injects which pod: every combination of what namespace and pod say.

use serde_json::{Value, json};

use super::{object, rendered};
use crate::render::{Context, render};

pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

const NAMESPACES: [Labels<'_>; 6] = [
    &[],
    &[("istio-injection", "enabled")],
    &[("istio-injection", "disabled")],
    &[("istio.io/rev", "canary")],
    &[("istio-injection", "enabled"), ("istio.io/rev", "canary")],
    &[("istio-injection", "disabled"), ("istio.io/rev", "canary")],
];

const PODS: [Labels<'_>; 6] = [
    &[],
    &[("sidecar.istio.io/inject", "true")],
    &[("sidecar.istio.io/inject", "false")],
    &[("istio.io/rev", "canary")],
    &[
        ("sidecar.istio.io/inject", "true"),
        ("istio.io/rev", "canary"),
    ],
    &[
        ("sidecar.istio.io/inject", "false"),
        ("istio.io/rev", "canary"),
    ],
];

fn get<'a>(labels: Labels<'a>, key: &str) -> Option<&'a str> {
    labels
        .iter()
        .find(|(own, _)| *own == key)
        .map(|(_, value)| *value)
}

/// What Kubernetes does with a selector.
fn matches(selector: &Value, labels: Labels<'_>) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let mut exact = exact.map(|(key, value)| get(labels, key) == value.as_str());
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    let mut expressions = expressions.map(|expression| {
        let own = get(labels, expression["key"].as_str().expect("a key"));
        let listed = || {
            let values = expression["values"].as_array().expect("values");
            values.iter().any(|value| value.as_str() == own)
        };
        match expression["operator"].as_str().expect("an operator") {
            "In" => own.is_some() && listed(),
            "NotIn" => own.is_none() || !listed(),
            "Exists" => own.is_some(),
            "DoesNotExist" => own.is_none(),
            other => panic!("{other} is no operator"),
        }
    });
    exact.all(|holds| holds) && expressions.all(|holds| holds)
}

/// The entries of some configurations that match.
pub(crate) fn injectors<'a>(
    configurations: &'a [Value],
    namespace: Labels<'_>,
    pod: Labels<'_>,
) -> Vec<&'a Value> {
    let all = configurations.iter().flat_map(|configuration| {
        let webhooks = configuration["webhooks"].as_array();
        webhooks.into_iter().flatten()
    });
    all.filter(|webhook| {
        matches(&webhook["namespaceSelector"], namespace)
            && matches(&webhook["objectSelector"], pod)
    })
    .collect()
}

/// Every combination of what namespace and pod say.
pub(crate) fn matrix() -> impl Iterator<Item = (Labels<'static>, Labels<'static>)> {
    let namespaces = NAMESPACES.into_iter();
    namespaces.flat_map(|namespace| PODS.into_iter().map(move |pod| (namespace, pod)))
}

/// Names of the configurations whose entries match.
fn names(configurations: &[(&str, Value)], namespace: Labels<'_>, pod: Labels<'_>) -> Vec<String> {
    let found = configurations.iter().flat_map(|(name, configuration)| {
        let one = std::slice::from_ref(configuration);
        vec![(*name).to_owned(); injectors(one, namespace, pod).len()]
    });
    found.collect()
}

/// Who should inject, in the words of the documentation.
pub(crate) fn expected(
    namespace: Labels<'_>,
    pod: Labels<'_>,
    by_default: bool,
) -> Option<&'static str> {
    let injection = get(namespace, "istio-injection");
    let inject = get(pod, "sidecar.istio.io/inject");
    if inject == Some("false") || injection == Some("disabled") {
        return None;
    }
    // The old label of the namespace wins over any revision.
    if injection == Some("enabled") {
        return Some("default");
    }
    if get(namespace, "istio.io/rev").is_some() || get(pod, "istio.io/rev").is_some() {
        return Some("canary");
    }
    (inject == Some("true") || by_default).then_some("default")
}

fn configuration(spec: Value, name: &str) -> Value {
    object(
        &rendered(spec),
        &format!("MutatingWebhookConfiguration {name}"),
    )
}

#[track_caller]
fn check(configurations: &[(&str, Value)], by_default: bool) {
    for (namespace, pod) in matrix() {
        let found = names(configurations, namespace, pod);
        let expected: Vec<String> = expected(namespace, pod, by_default)
            .map(str::to_owned)
            .into_iter()
            .collect();
        assert_eq!(found, expected, "namespace {namespace:?}, pod {pod:?}");
    }
    assert_eq!(matrix().count(), 36);
}

#[test]
fn default_beside_canary() {
    let default = configuration(json!({}), "istio-sidecar-injector");
    let canary = json!({"revision": "canary", "profile": "minimal"});
    let canary = configuration(canary, "istio-sidecar-injector-canary");
    check(&[("default", default), ("canary", canary)], false);
}

#[test]
fn namespaces_by_default() {
    let values = json!({"sidecarInjectorWebhook": {"enableNamespacesByDefault": true}});
    let default = configuration(json!({"values": values}), "istio-sidecar-injector");
    let canary = json!({"revision": "canary", "profile": "minimal", "values": values});
    let canary = configuration(canary, "istio-sidecar-injector-canary");
    let both = [("default", default), ("canary", canary)];
    check(&both, true);
    let system = &[("kubernetes.io/metadata.name", "kube-system")];
    assert_eq!(names(&both, system, &[]), Vec::<String>::new());
}

/// A revision that is the default by its tag does all that an untagged default would do.
#[test]
fn a_default_tag_beside_canary() {
    let stable = json!({"revision": "stable", "values": {"revisionTags": ["default"]}});
    let tag = configuration(stable.clone(), "istio-revision-tag-default");
    let own = configuration(stable, "istio-sidecar-injector-stable");
    let canary = json!({"revision": "canary", "profile": "minimal"});
    let canary = configuration(canary, "istio-sidecar-injector-canary");
    let all = [("default", tag), ("stable", own), ("canary", canary)];
    check(&all, false);
    let by_revision = &[("istio.io/rev", "stable")];
    assert_eq!(names(&all, by_revision, &[]), ["stable"]);
    let by_tag = &[("istio.io/rev", "default")];
    assert_eq!(names(&all, by_tag, &[]), ["default"]);
}

/// The tag takes over from the control plane without a revision: no pod is injected twice.
#[test]
fn a_default_tag_beside_its_own_default() {
    let spec = json!({"values": {"revisionTags": ["default"]}});
    let own = configuration(spec.clone(), "istio-sidecar-injector");
    let tag = configuration(spec, "istio-revision-tag-default");
    let canary = json!({"revision": "canary", "profile": "minimal"});
    let canary = configuration(canary, "istio-sidecar-injector-canary");
    check(
        &[("untagged", own), ("default", tag), ("canary", canary)],
        false,
    );
}

/// As the operator renders: who holds the tag, the other's plan, and a third revision.
#[test]
fn claims_beside_each_other() {
    let installed = |spec: &Value, name: &str| {
        let context = Context {
            takes_default: true,
            ..Context::default()
        };
        let rendered = render(spec, &context).expect("valid");
        object(&rendered, &format!("MutatingWebhookConfiguration {name}"))
    };
    let unnamed = json!({});
    let canary = json!({"revision": "canary", "profile": "minimal"});
    let stable = json!({"revision": "stable", "profile": "minimal"});
    let explicit = json!({"revision": "stable", "profile": "minimal", "values": {"revisionTags": ["default"]}});
    for holder in [&unnamed, &stable, &explicit] {
        let tag = installed(holder, "istio-revision-tag-default");
        let untagged = installed(&unnamed, "istio-sidecar-injector");
        let others = [
            (
                "canary",
                installed(&canary, "istio-sidecar-injector-canary"),
            ),
            (
                "stable",
                installed(&stable, "istio-sidecar-injector-stable"),
            ),
        ];
        let [canary, stable] = others;
        check(
            &[("default", tag), ("untagged", untagged), canary, stable],
            false,
        );
    }
}

/// An explicit revision `default` is a revision like others: no entries for the old label.
#[test]
fn an_explicit_default_is_a_revision() {
    let named = configuration(
        json!({"revision": "default"}),
        "istio-sidecar-injector-default",
    );
    let names: Vec<&str> = named["webhooks"]
        .as_array()
        .expect("webhooks")
        .iter()
        .map(|webhook| webhook["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "rev.namespace.sidecar-injector.istio.io",
            "rev.object.sidecar-injector.istio.io"
        ]
    );
}
