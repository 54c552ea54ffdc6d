//! Who wrote what of an object, by its managed fields.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::apply::MANAGER;
use crate::value::get;

/// Field manager of what adoption itself writes into metadata.
pub const ADOPTION_MANAGER: &str = "istio-operator-adoption";

/// What the manager of an entry is to an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The operator, ours or the old one: both apply under one name.
    Operator,
    /// Made the object: `helm`, `istioctl`, `kubectl`, Argo CD, Flux, …
    Installer,
    /// Changed a part of it by hand.
    Editor,
    /// Keeps a part of it by itself, which is never taken.
    Controller,
}

/// Programs that keep parts of other programs' objects.
const CONTROLLERS: [&str; 11] = [
    "kube-controller-manager",
    "kube-apiserver",
    "kube-scheduler",
    "kubelet",
    "cloud-controller-manager",
    "service-controller",
    "pilot-discovery",
    "istiod",
    "cainjector",
    "cert-manager-cainjector",
    // Only says when pods were restarted.
    "kubectl-rollout",
];
const INSTALLERS: [&str; 10] = [
    MANAGER,
    "operator",
    "istioctl",
    "helm",
    "helm-controller",
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "kubectl-client-side-apply",
    "kubectl",
];
/// Labels that only the one writes who makes an object.
const LABELS: [&str; 7] = [
    "app",
    "release",
    "istio.io/rev",
    "operator.istio.io/component",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "helm.sh/chart",
];

/// Managers of Argo CD.
pub fn is_argo_cd(entry: &ManagedFieldsEntry) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    manager.starts_with("argocd-")
}

/// Judges an entry.
pub fn writer(entry: &ManagedFieldsEntry) -> Writer {
    let manager = entry.manager.as_deref().unwrap_or_default();
    let is_apply = entry.operation.as_deref() == Some("Apply");
    if entry.subresource.is_some() || CONTROLLERS.contains(&manager) || manager == ADOPTION_MANAGER
    {
        Writer::Controller
    } else if manager == MANAGER && is_apply {
        Writer::Operator
    } else if INSTALLERS.contains(&manager) || writes_labels(entry) {
        Writer::Installer
    } else {
        Writer::Editor
    }
}

fn writes_labels(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref();
    let labels = fields.and_then(|fields| get(&fields.0, &["f:metadata", "f:labels"]));
    labels.is_some_and(|labels| {
        let own = |label: &&str| labels.get(format!("f:{label}")).is_some();
        LABELS.iter().any(own)
    })
}

/// Entries of an object with what their managers are and which fields they have.
pub fn entries(metadata: &ObjectMeta) -> Vec<(&ManagedFieldsEntry, Writer, &Value)> {
    let entries = metadata.managed_fields.iter().flatten();
    let judged = entries.filter_map(|entry| {
        let fields = entry.fields_v1.as_ref()?;
        Some((entry, writer(entry), &fields.0))
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managers() {
        let label = json!({"f:metadata": {"f:labels": {"f:app": {}}}});
        let image = json!({"f:spec": {"f:template": {}}});
        let cases = [
            ("istio-operator", "Apply", "", &image, Writer::Operator),
            ("istio-operator", "Update", "", &image, Writer::Installer),
            ("helm", "Update", "", &image, Writer::Installer),
            (
                "terraform-provider-helm_v2",
                "Update",
                "",
                &label,
                Writer::Installer,
            ),
            ("kubectl-edit", "Update", "", &image, Writer::Editor),
            ("kubectl-rollout", "Update", "", &image, Writer::Controller),
            (
                "kube-controller-manager",
                "Update",
                "scale",
                &image,
                Writer::Controller,
            ),
            ("helm", "Update", "status", &label, Writer::Controller),
            ("pilot-discovery", "Update", "", &image, Writer::Controller),
        ];
        for (manager, operation, subresource, fields, expected) in cases {
            let entry: ManagedFieldsEntry = serde_json::from_value(json!({
                "manager": manager, "operation": operation, "fieldsV1": fields,
                "subresource": Some(subresource).filter(|text| !text.is_empty()),
            }))
            .expect("an entry");
            assert_eq!(
                writer(&entry),
                expected,
                "{manager} {operation} {subresource}"
            );
        }
    }
}
