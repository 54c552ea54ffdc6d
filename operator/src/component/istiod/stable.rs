//! Admission policies that refuse what is not of the stable channel.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::webhook::VALIDATED_GROUPS;
use crate::component::{Component, Labels, Sink, clustered};

/// Kinds that rules speak of, by the variable that says whether an object is of them.
const KINDS: [(&str, &str); 5] = [
    ("isEnvoyFilter", "EnvoyFilter"),
    ("isWasmPlugin", "WasmPlugin"),
    ("isProxyConfig", "ProxyConfig"),
    ("isTelemetry", "Telemetry"),
    ("isAuthorizationPolicy", "AuthorizationPolicy"),
];

/// Kinds that are not of the channel at all.
const REFUSED: [(&str, &str); 3] = [
    ("isEnvoyFilter", "EnvoyFilter"),
    ("isWasmPlugin", "WasmPlugin"),
    ("isProxyConfig", "ProxyConfig"),
];

const TELEMETRY: &str = "!variables.isTelemetry || !has(object.spec) || !(\
    (has(object.spec.tracing) && object.spec.tracing.exists(t, has(t.useRequestIdForTraceSampling))) || \
    (has(object.spec.metrics) && object.spec.metrics.exists(m, has(m.reportingInterval))) || \
    (has(object.spec.accessLogging) && object.spec.accessLogging.exists(l, has(l.filter))))";

const AUTHORIZATION: &str = "!variables.isAuthorizationPolicy || !has(object.spec) || \
    !has(object.spec.rules) || !object.spec.rules.exists(r, has(r.from) && \
    r.from.exists(f, has(f.source) && (has(f.source.trustDomains) || has(f.source.notTrustDomains))))";

/// Adds a policy and its binding.
pub fn render(
    component: Component,
    (policy, binding): (&str, &str),
    labels: Labels,
    selector: Option<LabelSelector>,
    sink: &mut Sink,
) {
    sink.add(
        component,
        &ValidatingAdmissionPolicy {
            metadata: clustered(policy, labels),
            spec: Some(ValidatingAdmissionPolicySpec {
                failure_policy: Some("Fail".into()),
                match_constraints: Some(constraints(selector)),
                variables: Some(KINDS.map(|(name, kind)| is_kind(name, kind)).into()),
                validations: Some(validations()),
                ..ValidatingAdmissionPolicySpec::default()
            }),
            ..ValidatingAdmissionPolicy::default()
        },
    );
    sink.add(
        component,
        &ValidatingAdmissionPolicyBinding {
            metadata: ObjectMeta {
                name: Some(binding.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(ValidatingAdmissionPolicyBindingSpec {
                policy_name: Some(policy.to_owned()),
                validation_actions: Some(vec!["Deny".into()]),
                ..ValidatingAdmissionPolicyBindingSpec::default()
            }),
        },
    );
}

fn constraints(selector: Option<LabelSelector>) -> MatchResources {
    MatchResources {
        object_selector: selector,
        resource_rules: Some(vec![NamedRuleWithOperations {
            api_groups: Some(VALIDATED_GROUPS.map(str::to_owned).into()),
            api_versions: Some(vec!["*".into()]),
            operations: Some(vec!["CREATE".into(), "UPDATE".into()]),
            resources: Some(vec!["*".into()]),
            ..NamedRuleWithOperations::default()
        }]),
        ..MatchResources::default()
    }
}

fn is_kind(name: &str, kind: &str) -> Variable {
    Variable {
        name: name.to_owned(),
        expression: format!("object.kind == '{kind}'"),
    }
}

fn validations() -> Vec<Validation> {
    let refused = REFUSED.map(|(name, kind)| {
        (
            format!("!variables.{name}"),
            format!("{kind} is not of the stable channel"),
        )
    });
    let fields = [
        (
            TELEMETRY,
            "useRequestIdForTraceSampling, reportingInterval and filter of a Telemetry are not of \
             the stable channel",
        ),
        (
            AUTHORIZATION,
            "trustDomains and notTrustDomains of an AuthorizationPolicy are not of the stable channel",
        ),
    ];
    let fields = fields.map(|(expression, message)| (expression.to_owned(), message.to_owned()));
    refused
        .into_iter()
        .chain(fields)
        .map(|(expression, message)| Validation {
            expression,
            message: Some(message),
            ..Validation::default()
        })
        .collect()
}
