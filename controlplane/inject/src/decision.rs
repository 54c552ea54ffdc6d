//! Whether a pod is injected, once the API server has asked.
//!
//! Which pods the API server asks about is said by the selectors of the webhook configuration; this is the second,
//! in-process half.

use std::collections::BTreeMap;
use std::fmt;

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::config::{InjectorConfig, Policy};

/// Namespaces whose pods are never injected.
pub const SYSTEM_NAMESPACES: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Inject,
    Skip(SkipReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The pod uses the node's network.
    HostNetwork,
    /// The pod is in one of [`SYSTEM_NAMESPACES`].
    SystemNamespace,
    /// The pod's label or annotation says `false`.
    PodSaysNo,
    /// A `neverInjectSelector` matches.
    NeverInjectSelector,
    /// Nothing asks for injection and the policy is `disabled`.
    PolicyDisabled,
}

impl SkipReason {
    /// Short, for metrics and debug answers.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::HostNetwork => "host_network",
            SkipReason::SystemNamespace => "system_namespace",
            SkipReason::PodSaysNo => "pod_label_or_annotation",
            SkipReason::NeverInjectSelector => "never_inject_selector",
            SkipReason::PolicyDisabled => "policy_disabled",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub namespace: &'a str,
    pub host_network: bool,
    pub labels: &'a BTreeMap<String, String>,
    pub annotations: &'a BTreeMap<String, String>,
}

/// Decides by, in order: host network, system namespace, label, annotation, selectors, policy.
///
/// Values of the label and annotation other than `true` and `false` say nothing.
pub fn decide(facts: Facts<'_>, config: &InjectorConfig) -> Decision {
    if facts.host_network {
        return Decision::Skip(SkipReason::HostNetwork);
    }
    if SYSTEM_NAMESPACES.contains(&facts.namespace) {
        return Decision::Skip(SkipReason::SystemNamespace);
    }
    let said = facts
        .labels
        .get(label::INJECT)
        .or_else(|| facts.annotations.get(label::INJECT));
    match said.map(String::as_str) {
        Some("true") => return Decision::Inject,
        Some("false") => return Decision::Skip(SkipReason::PodSaysNo),
        _ => {}
    }
    let any = |selectors: &[LabelSelector]| selectors.iter().any(|s| selects(s, facts.labels));
    if any(&config.never_inject) {
        return Decision::Skip(SkipReason::NeverInjectSelector);
    }
    if any(&config.always_inject) {
        return Decision::Inject;
    }
    match config.policy {
        Policy::Enabled => Decision::Inject,
        Policy::Disabled => Decision::Skip(SkipReason::PolicyDisabled),
    }
}

/// Whether a label selector selects; an empty one selects nothing here, as it would select every pod by accident.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    let mut parts = 0;
    for (key, value) in equal {
        parts += 1;
        if labels.get(key) != Some(value) {
            return false;
        }
    }
    for expression in expressions {
        parts += 1;
        let found = labels.get(&expression.key);
        let listed = |value: &String| expression.values.iter().flatten().any(|v| v == value);
        let holds = match expression.operator.as_str() {
            "In" => found.is_some_and(listed),
            "NotIn" => !found.is_some_and(listed),
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            _ => false,
        };
        if !holds {
            return false;
        }
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        name: &'static str,
        namespace: &'static str,
        host_network: bool,
        label: Option<&'static str>,
        annotation: Option<&'static str>,
        app: &'static str,
        policy: Policy,
        expected: Decision,
    }

    const BASE: Case = Case {
        name: "",
        namespace: "shop",
        host_network: false,
        label: None,
        annotation: None,
        app: "web",
        policy: Policy::Enabled,
        expected: Decision::Inject,
    };

    #[track_caller]
    fn check(case: &Case) {
        let selector = |key: &str| LabelSelector {
            match_labels: Some([("app".to_owned(), key.to_owned())].into()),
            ..Default::default()
        };
        let config = InjectorConfig {
            policy: case.policy,
            never_inject: vec![
                selector("never"),
                selector("both"),
                LabelSelector::default(),
            ],
            always_inject: vec![selector("always"), selector("both")],
            ..Default::default()
        };
        let mut labels = BTreeMap::from([("app".to_owned(), case.app.to_owned())]);
        let mut annotations = BTreeMap::new();
        if let Some(value) = case.label {
            labels.insert(label::INJECT.to_owned(), value.to_owned());
        }
        if let Some(value) = case.annotation {
            annotations.insert(label::INJECT.to_owned(), value.to_owned());
        }
        let facts = Facts {
            namespace: case.namespace,
            host_network: case.host_network,
            labels: &labels,
            annotations: &annotations,
        };
        assert_eq!(decide(facts, &config), case.expected, "{}", case.name);
    }

    #[test]
    fn table_of_decisions() {
        use Decision::Skip;
        use SkipReason::{
            HostNetwork, NeverInjectSelector, PodSaysNo, PolicyDisabled, SystemNamespace,
        };
        for case in [
            Case {
                name: "policy enabled",
                ..BASE
            },
            Case {
                name: "policy disabled",
                policy: Policy::Disabled,
                expected: Skip(PolicyDisabled),
                ..BASE
            },
            Case {
                name: "label true beats policy",
                label: Some("true"),
                policy: Policy::Disabled,
                ..BASE
            },
            Case {
                name: "label false",
                label: Some("false"),
                expected: Skip(PodSaysNo),
                ..BASE
            },
            Case {
                name: "label beats annotation",
                label: Some("true"),
                annotation: Some("false"),
                ..BASE
            },
            Case {
                name: "annotation false",
                annotation: Some("false"),
                expected: Skip(PodSaysNo),
                ..BASE
            },
            Case {
                name: "annotation true",
                annotation: Some("true"),
                policy: Policy::Disabled,
                ..BASE
            },
            Case {
                name: "other values say nothing",
                label: Some("yes"),
                ..BASE
            },
            Case {
                name: "empty label says nothing",
                label: Some(""),
                policy: Policy::Disabled,
                expected: Skip(PolicyDisabled),
                ..BASE
            },
            Case {
                name: "host network",
                host_network: true,
                label: Some("true"),
                expected: Skip(HostNetwork),
                ..BASE
            },
            Case {
                name: "system namespace",
                namespace: "kube-system",
                label: Some("true"),
                expected: Skip(SystemNamespace),
                ..BASE
            },
            Case {
                name: "never",
                app: "never",
                expected: Skip(NeverInjectSelector),
                ..BASE
            },
            Case {
                name: "never beats always",
                app: "both",
                expected: Skip(NeverInjectSelector),
                ..BASE
            },
            Case {
                name: "label beats never",
                app: "never",
                label: Some("true"),
                ..BASE
            },
            Case {
                name: "always beats policy",
                app: "always",
                policy: Policy::Disabled,
                ..BASE
            },
        ] {
            check(&case);
        }
    }
}
