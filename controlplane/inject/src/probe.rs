//! The kubelet's probes and hooks go through the agent, which asks the application from inside the pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::PROXY_CONTAINER;
use crate::metadata::{is_native_sidecar, name};

/// Variable of the proxy with the original probes, by path.
pub(crate) const VARIABLE: &str = "ISTIO_KUBE_APP_PROBERS";

/// Where a probe stands in a container and the last part of its path at the agent.
struct Place {
    pointer: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    /// Hooks have no timeout and no gRPC form.
    hook: bool,
}

const PLACES: [Place; 5] = [
    Place {
        pointer: "/readinessProbe",
        prefix: "app-health",
        suffix: "readyz",
        hook: false,
    },
    Place {
        pointer: "/livenessProbe",
        prefix: "app-health",
        suffix: "livez",
        hook: false,
    },
    Place {
        pointer: "/startupProbe",
        prefix: "app-health",
        suffix: "startupz",
        hook: false,
    },
    Place {
        pointer: "/lifecycle/preStop",
        prefix: "app-lifecycle",
        suffix: "prestopz",
        hook: true,
    },
    Place {
        pointer: "/lifecycle/postStart",
        prefix: "app-lifecycle",
        suffix: "poststartz",
        hook: true,
    },
];

impl Place {
    fn path(&self, container: &str) -> String {
        format!("/{}/{container}/{}", self.prefix, self.suffix)
    }
}

/// Original probes by their path at the agent.
pub(crate) type Probers = BTreeMap<String, Value>;

/// Points the probes of the pod's containers at the agent; returns the originals.
///
/// Left alone are `exec` handlers, probes of another host, probes of the agent itself and probes whose named port does not exist.
pub(crate) fn rewrite(spec: &mut Map<String, Value>, status_port: u16) -> Probers {
    let mut probers = Probers::new();
    for_each_container(spec, |container| {
        for place in &PLACES {
            let path = place.path(name(container));
            let ports = container["ports"].clone();
            let Some(handler) = container
                .pointer_mut(place.pointer)
                .and_then(Value::as_object_mut)
            else {
                continue;
            };
            if let Some(original) = redirect(handler, place, &path, &ports, status_port) {
                probers.insert(path, original);
            }
        }
    });
    probers
}

/// Undoes [`rewrite`]; what is not in `probers` stays.
pub(crate) fn restore(spec: &mut Map<String, Value>, probers: &Probers) {
    for_each_container(spec, |container| {
        for place in &PLACES {
            let path = place.path(name(container));
            let (Some(original), Some(handler)) = (
                probers.get(&path),
                container
                    .pointer_mut(place.pointer)
                    .and_then(Value::as_object_mut),
            ) else {
                continue;
            };
            if handler
                .get("httpGet")
                .is_none_or(|get| get["path"] != *path)
            {
                continue;
            }
            handler.shift_remove("httpGet");
            for (key, value) in original.as_object().into_iter().flatten() {
                handler.insert(key.clone(), value.clone());
            }
        }
    });
}

/// Containers that the kubelet probes: all but the proxy, init containers only when they keep running.
fn for_each_container(spec: &mut Map<String, Value>, mut visit: impl FnMut(&mut Value)) {
    for field in ["initContainers", "containers"] {
        let list = spec.get_mut(field).and_then(Value::as_array_mut);
        for container in list.into_iter().flatten() {
            let runs = field == "containers" || is_native_sidecar(container);
            if runs && name(container) != PROXY_CONTAINER {
                visit(container);
            }
        }
    }
}

/// Rewrites one handler; returns what the agent must know of the original.
fn redirect(
    handler: &mut Map<String, Value>,
    place: &Place,
    path: &str,
    ports: &Value,
    status_port: u16,
) -> Option<Value> {
    let kinds: &[&str] = match place.hook {
        true => &["httpGet", "tcpSocket"],
        false => &["httpGet", "tcpSocket", "grpc"],
    };
    let kind = *kinds.iter().find(|kind| handler.contains_key(**kind))?;
    let mut action = handler.get(kind)?.clone();
    let fields = action.as_object_mut()?;
    let port = resolve_port(fields.get("port")?, ports)?;
    let elsewhere = fields
        .get("host")
        .and_then(Value::as_str)
        .is_some_and(|host| !host.is_empty());
    if elsewhere || port == u64::from(status_port) {
        return None;
    }
    fields.insert("port".to_owned(), json!(port));
    let mut original = Map::new();
    original.insert(kind.to_owned(), action);
    if let Some(timeout) = handler.get("timeoutSeconds").filter(|_| !place.hook) {
        original.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    let mut get = match handler.shift_remove(kind) {
        Some(Value::Object(fields)) if kind == "httpGet" => fields,
        _ => Map::new(),
    };
    get.insert("path".to_owned(), json!(path));
    get.insert("port".to_owned(), json!(status_port));
    // The agent speaks TLS to the application, the kubelet speaks plain HTTP to the agent.
    if get.get("scheme").is_some_and(|scheme| scheme == "HTTPS") {
        get.insert("scheme".to_owned(), json!("HTTP"));
    }
    handler.insert("httpGet".to_owned(), Value::Object(get));
    Some(Value::Object(original))
}

/// A number, a number in text, or the name of one of the container's ports.
fn resolve_port(port: &Value, ports: &Value) -> Option<u64> {
    match port {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok().or_else(|| {
            let named = ports.as_array()?.iter().find(|p| p["name"] == **text)?;
            named["containerPort"].as_u64()
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(container: Value) -> Map<String, Value> {
        match json!({"containers": [container]}) {
            Value::Object(spec) => spec,
            _ => Map::new(),
        }
    }

    #[track_caller]
    fn check(probe: Value, expected: Option<Value>) {
        let container = json!({
            "name": "web",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": probe,
        });
        let mut rewritten = spec(container.clone());
        let probers = rewrite(&mut rewritten, 15020);
        assert_eq!(probers.get("/app-health/web/readyz"), expected.as_ref());
        restore(&mut rewritten, &probers);
        // Named ports come back as numbers, everything else as it was.
        let back = rewrite(&mut rewritten, 15020);
        assert_eq!(back, probers);
    }

    #[test]
    fn every_kind_is_kept_for_the_agent() {
        check(
            json!({"httpGet": {"path": "/r", "port": "http", "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}]}, "timeoutSeconds": 3}),
            Some(
                json!({"httpGet": {"path": "/r", "port": 8080, "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}]}, "timeoutSeconds": 3}),
            ),
        );
        check(
            json!({"tcpSocket": {"port": 1}}),
            Some(json!({"tcpSocket": {"port": 1}})),
        );
        check(
            json!({"grpc": {"port": 2, "service": "s"}}),
            Some(json!({"grpc": {"port": 2, "service": "s"}})),
        );
    }

    #[test]
    fn what_the_agent_cannot_do_is_left_alone() {
        check(json!({"exec": {"command": ["true"]}}), None);
        check(json!({"httpGet": {"port": "missing"}}), None);
        check(
            json!({"httpGet": {"port": 80, "host": "example.com"}}),
            None,
        );
        check(json!({"httpGet": {"port": 15020}}), None);
    }

    #[test]
    fn the_kubelet_speaks_plain_http_to_the_agent() {
        let mut spec = spec(
            json!({"name": "web", "livenessProbe": {"httpGet": {"port": 8443, "scheme": "HTTPS"}, "periodSeconds": 2}}),
        );
        rewrite(&mut spec, 15020);
        assert_eq!(
            spec["containers"][0]["livenessProbe"],
            json!({"periodSeconds": 2, "httpGet": {"port": 15020, "scheme": "HTTP", "path": "/app-health/web/livez"}})
        );
    }

    #[test]
    fn hooks_go_through_the_agent() {
        let mut spec = spec(
            json!({"name": "web", "lifecycle": {"preStop": {"httpGet": {"port": 1, "path": "/bye"}}, "postStart": {"exec": {}}}}),
        );
        let probers = rewrite(&mut spec, 15020);
        assert_eq!(
            probers.keys().collect::<Vec<_>>(),
            ["/app-lifecycle/web/prestopz"]
        );
        assert_eq!(
            spec["containers"][0]["lifecycle"]["preStop"]["httpGet"]["path"],
            "/app-lifecycle/web/prestopz"
        );
    }
}
