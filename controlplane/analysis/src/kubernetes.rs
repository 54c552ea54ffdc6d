//! Objects of Kubernetes, as far as the mesh depends on how they are written.

use ironsail_crds::{Diagnostic, diagnostic};
use ironsail_mesh::label;
use ironsail_mesh::port::Protocol;
use serde_json::Value;

/// Ports of a Service whose protocol can't be told from name or `appProtocol`.
#[must_use]
pub fn service(object: &Value) -> Vec<Diagnostic> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten().enumerate();
    ports
        .filter_map(|(index, port)| {
            let path = diagnostic::item("spec.ports", index);
            service_port(port, &path)
        })
        .collect()
}

fn service_port(port: &Value, path: &str) -> Option<Diagnostic> {
    let text = |key: &str| port.get(key).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.is_empty());
    let app_protocol = text("appProtocol").filter(|protocol| !protocol.is_empty());
    // Port 0 has no well-known meaning.
    let declared = Protocol::select(0, name, app_protocol, text("protocol"));
    if !declared.is_unsupported() || app_protocol.is_some() {
        return None;
    }
    Some(match name {
        None => Diagnostic::error(
            path,
            "has neither name nor appProtocol: its protocol is not declared",
        ),
        Some(name) => Diagnostic::error(
            diagnostic::child(path, "name"),
            format!(
                "{name:?} must be a protocol, or a protocol, - and more, such as http-web; or declare appProtocol"
            ),
        ),
    })
}

/// Labels of a Deployment's pods by which telemetry names them.
#[must_use]
pub fn deployment(object: &Value) -> Vec<Diagnostic> {
    let labels = object.pointer("/spec/template/metadata/labels");
    let has = |keys: [&str; 3]| {
        keys.iter()
            .any(|key| labels.and_then(|labels| labels.get(*key)).is_some())
    };
    let wanted = [
        (
            [
                label::APP,
                label::APP_KUBERNETES_NAME,
                label::CANONICAL_NAME,
            ],
            "app: telemetry calls the workload by the Deployment's name",
        ),
        (
            [
                label::VERSION,
                label::APP_KUBERNETES_VERSION,
                label::CANONICAL_REVISION,
            ],
            "version: telemetry can't tell versions apart",
        ),
    ];
    wanted
        .into_iter()
        .filter(|(keys, _)| !has(*keys))
        .map(|(_, text)| {
            let path = "spec.template.metadata.labels";
            Diagnostic::warning(path, format!("has no label {text}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(findings: &[Diagnostic]) -> Vec<String> {
        let lines = findings.iter().map(|d| format!("{} {d}", d.severity));
        lines.collect()
    }

    #[test]
    fn ports_declare_their_protocol() {
        let object = json!({ "spec": { "ports": [
            { "name": "http", "port": 80 },
            { "name": "http-web", "port": 81 },
            { "name": "grpc-web-a", "port": 82 },
            { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "web", "port": 83, "appProtocol": "http" },
            { "name": "own", "port": 84, "appProtocol": "example.com/own" },
            { "name": "web", "port": 85 },
            { "port": 86 },
            { "name": "httpweb", "port": 3306 },
        ] } });
        assert_eq!(
            lines(&service(&object)),
            [
                "error spec.ports[6].name: \"web\" must be a protocol, or a protocol, - and more, such as http-web; or declare appProtocol",
                "error spec.ports[7]: has neither name nor appProtocol: its protocol is not declared",
                "error spec.ports[8].name: \"httpweb\" must be a protocol, or a protocol, - and more, such as http-web; or declare appProtocol",
            ]
        );
        assert!(service(&json!({ "spec": { "ports": "a" } })).is_empty());
        assert!(service(&json!(null)).is_empty());
    }

    #[test]
    fn pods_have_a_name_and_a_version() {
        let with = |labels: Value| {
            let object = json!({ "spec": { "template": { "metadata": { "labels": labels } } } });
            lines(&deployment(&object))
        };
        assert_eq!(with(json!({ "app": "a", "version": "v1" })), [""; 0]);
        assert_eq!(
            with(
                json!({ "app.kubernetes.io/name": "a", "service.istio.io/canonical-revision": "b" })
            ),
            [""; 0]
        );
        assert_eq!(
            with(json!({ "app": "a" })),
            [
                "warning spec.template.metadata.labels: has no label version: telemetry can't tell versions apart"
            ]
        );
        assert_eq!(lines(&deployment(&json!({}))).len(), 2);
    }
}
