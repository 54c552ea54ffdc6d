//! Labels and annotations that the mesh reads and writes on Kubernetes objects.

/// On namespaces: `enabled` or `disabled`.
pub const INJECTION: &str = "istio-injection";
/// Control-plane revision that a namespace, pod or configuration object belongs to.
pub const REVISION: &str = "istio.io/rev";
/// Revision tag that a webhook configuration or Service stands for.
pub const TAG: &str = "istio.io/tag";
/// On pods: `true` or `false`, as label or (older) annotation.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// Annotation written by the injector: what it added.
pub const INJECTION_STATUS: &str = "sidecar.istio.io/status";
/// `istio` on pods whose proxy terminates mutual TLS.
pub const TLS_MODE: &str = "security.istio.io/tlsMode";
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
pub const NETWORK: &str = "topology.istio.io/network";
/// Sub-zone label of nodes.
pub const SUBZONE: &str = "topology.istio.io/subzone";
pub const APP: &str = "app";
pub const VERSION: &str = "version";
pub const APP_KUBERNETES_NAME: &str = "app.kubernetes.io/name";
pub const APP_KUBERNETES_VERSION: &str = "app.kubernetes.io/version";
/// Component an operator-owned object belongs to: `Base`, `Pilot`, `IngressGateways`, …
pub const COMPONENT: &str = "operator.istio.io/component";
/// `Reconcile` on objects that the operator owns.
pub const MANAGED: &str = "operator.istio.io/managed";
/// Version of the installer that last applied the object.
pub const OPERATOR_VERSION: &str = "operator.istio.io/version";
pub const OWNING_RESOURCE: &str = "install.operator.istio.io/owning-resource";
pub const OWNING_RESOURCE_NAMESPACE: &str = "install.operator.istio.io/owning-resource-namespace";
/// Visibility of a Service to other namespaces.
pub const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// The name and the revision telemetry shows for a workload.
///
/// Order of labels as in the peer: canonical label, `app.kubernetes.io/…`, plain label; then the
/// workload's name, or `latest` for the revision.
pub fn canonical<'a>(
    label: impl Fn(&str) -> Option<&'a str>,
    workload: &'a str,
) -> (&'a str, &'a str) {
    let first = |keys: [&str; 3]| {
        keys.into_iter()
            .find_map(|key| label(key).filter(|value| !value.is_empty()))
    };
    let name = first([CANONICAL_NAME, APP_KUBERNETES_NAME, APP]).unwrap_or(workload);
    let revision = first([CANONICAL_REVISION, APP_KUBERNETES_VERSION, VERSION]).unwrap_or("latest");
    (name, revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_prefers_the_explicit_label() {
        let labels = [(APP, "reviews"), (CANONICAL_NAME, "rev"), (VERSION, "v2")];
        let find = |key: &str| {
            labels
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, value)| *value)
        };
        assert_eq!(canonical(find, "reviews-v2"), ("rev", "v2"));
        assert_eq!(canonical(|_| None, "reviews-v2"), ("reviews-v2", "latest"));
    }
}
