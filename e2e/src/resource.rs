//! Further IstioOperators beside the one of the demo, removed when a test ends.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{kubectl, mesh, wait};

/// How long a removal may take.
const REMOVAL: &str = "--timeout=90s";

/// An IstioOperator in `istio-system` that lives as long as the value.
pub struct Resource {
    pub name: String,
}

impl Resource {
    /// Creates or changes the resource; what a killed run left is replaced.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn apply(name: &str, spec: &Value) -> anyhow::Result<Self> {
        let resource = Self {
            name: name.to_owned(),
        };
        resource.change(spec)?;
        Ok(resource)
    }

    /// Gives it another spec.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn change(&self, spec: &Value) -> anyhow::Result<()> {
        kubectl::run_with_input(&["apply", "-f", "-"], &manifest(&self.name, spec)).map(drop)
    }

    /// Sets an annotation (`name=value`) or removes one (`name-`).
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn annotate(&self, change: &str) -> anyhow::Result<()> {
        self.annotate_all(&[change])
    }

    /// Sets and removes annotations with one write.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn annotate_all(&self, changes: &[&str]) -> anyhow::Result<()> {
        let kind = [
            "-n",
            mesh::SYSTEM,
            "annotate",
            "--overwrite",
            "istiooperator",
        ];
        kubectl::run(&[&kind[..], &[&self.name], changes].concat()).map(drop)
    }

    /// The object as it is now.
    ///
    /// # Errors
    /// It does not exist.
    pub fn get(&self) -> anyhow::Result<Value> {
        kubectl::get(mesh::SYSTEM, &["istiooperator", &self.name])
    }

    /// Waits for a state of the present generation.
    ///
    /// # Errors
    /// It does not come in time; the error quotes the status.
    pub fn wait(&self, status: &str, limit: Duration) -> anyhow::Result<Value> {
        wait::until(status, limit, || {
            let object = self.get()?;
            let observed =
                object["status"]["observedGeneration"] == object["metadata"]["generation"];
            ensure!(
                observed && object["status"]["status"] == status,
                "{:#}",
                object["status"]
            );
            Ok(object)
        })
    }

    /// Waits until everything is installed and ready.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn healthy(&self) -> anyhow::Result<Value> {
        self.wait("HEALTHY", Duration::from_secs(120))
    }

    /// Waits for a condition's status and returns its message.
    ///
    /// # Errors
    /// It does not come in time; the error quotes all conditions.
    pub fn condition(&self, name: &str, status: &str, limit: Duration) -> anyhow::Result<String> {
        wait::until(name, limit, || {
            let object = self.get()?;
            let conditions = &object["status"]["conditions"];
            let found = conditions.as_array().into_iter().flatten();
            let found = found.clone().find(|condition| condition["type"] == name);
            let found = found.with_context(|| format!("no condition {name} in {conditions:#}"))?;
            ensure!(found["status"] == status, "{conditions:#}");
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        })
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}: {:#}",
                self.name,
                self.get().unwrap_or_default()["status"]
            );
        }
        let delete = ["-n", mesh::SYSTEM, "delete", "istiooperator", &self.name];
        let rest = ["--ignore-not-found", REMOVAL];
        if let Err(error) = kubectl::run(&[&delete[..], &rest[..]].concat()) {
            eprintln!("IstioOperator {} stays: {error:#}", self.name);
        }
    }
}

/// A spec of nothing but ingress gateways without a load balancer or an autoscaler.
pub fn gateways(entries: &[Value]) -> Value {
    json!({
        "profile": "empty",
        "components": {"ingressGateways": entries},
        "values": {"gateways": {"istio-ingressgateway": {"autoscaleEnabled": false, "type": "ClusterIP"}}},
    })
}

/// An entry of a list of gateways, whose pods have its name as their labels, with more settings.
pub fn entry(name: &str, settings: &Value) -> Value {
    let mut entry = json!({"name": name, "enabled": true, "label": {"app": name, "istio": name}});
    for (key, value) in settings.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    entry
}

/// [`gateways`] of one.
pub fn gateway(name: &str, settings: &Value) -> Value {
    gateways(&[entry(name, settings)])
}

/// The settings that all gateways of a spec share.
pub fn gateway_values(spec: &mut Value) -> &mut Value {
    &mut spec["values"]["gateways"]["istio-ingressgateway"]
}

/// A spec of a control plane that asks for little, with the tags that lead to it.
pub fn control_plane(revision: &str, tags: &[&str]) -> Value {
    json!({
        "profile": "minimal",
        "revision": revision,
        "components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": "20m", "memory": "100Mi"}}}}},
        "values": {"revisionTags": tags},
    })
}

/// The text of an IstioOperator in `istio-system`, with images of `$HUB`.
pub fn manifest(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": mesh::SYSTEM},
        "spec": spec,
    })
    .to_string()
}
