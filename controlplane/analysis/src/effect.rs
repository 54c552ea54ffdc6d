//! What is valid and stored, but has no effect in this version.

use ironsail_crds::kind::{
    DESTINATION_RULE, GATEWAY, ISTIO_OPERATOR, Kind, PEER_AUTHENTICATION, VIRTUAL_SERVICE,
};
use ironsail_crds::{Diagnostic, diagnostic};
use serde_json::Value;

/// Group of the kinds that protect workloads.
const SECURITY: &str = "security.istio.io";

/// Kinds of the mesh that the control plane acts upon.
pub static ACTED_UPON: [&Kind; 4] = [
    &GATEWAY,
    &VIRTUAL_SERVICE,
    &DESTINATION_RULE,
    &PEER_AUTHENTICATION,
];

/// Fields of those kinds that it does not act upon: kind, field above, field.
static WITHOUT_EFFECT: [(&Kind, &str, &str); 8] = [
    (&DESTINATION_RULE, "loadBalancer", "backendUtilization"),
    (&DESTINATION_RULE, "loadBalancer", "zoneAwareLbSetting"),
    (&DESTINATION_RULE, "localityLbSetting", "distribute"),
    (&DESTINATION_RULE, "localityLbSetting", "failoverPriority"),
    (
        &DESTINATION_RULE,
        "outlierDetection",
        "outlierDetectionHttpErrorCodes",
    ),
    (&DESTINATION_RULE, "trafficPolicy", "tunnel"),
    (&DESTINATION_RULE, "tls", "caCrl"),
    (&GATEWAY, "tls", "caCrl"),
];

/// What an object asks for and does not get.
///
/// A kind that protects workloads is an error: to store it would promise a protection that isn't
/// there. Everything else is a warning.
#[must_use]
pub fn check(kind: &Kind, object: &Value) -> Vec<Diagnostic> {
    if is(kind, &ISTIO_OPERATOR) {
        return Vec::new();
    }
    if !ACTED_UPON.iter().any(|known| is(known, kind)) {
        return vec![whole(kind)];
    }
    let mut found = Vec::new();
    if let Some(spec) = object.get("spec") {
        let fields: Vec<(&str, &str)> = WITHOUT_EFFECT
            .iter()
            .filter(|row| is(row.0, kind))
            .map(|row| (row.1, row.2))
            .collect();
        below(spec, "", "spec", &fields, &mut found);
    }
    found
}

fn is(a: &Kind, b: &Kind) -> bool {
    a.group == b.group && a.kind == b.kind
}

fn whole(kind: &Kind) -> Diagnostic {
    let name = kind.kind;
    match kind.group {
        SECURITY => Diagnostic::error(
            "",
            format!("{name} is not supported by this version and would not be enforced"),
        ),
        _ => Diagnostic::warning(
            "",
            format!("{name} is not supported by this version and has no effect"),
        ),
    }
}

/// Looks for fields by their own name and the one above; lists have the name of their field.
fn below(
    value: &Value,
    name: &str,
    path: &str,
    fields: &[(&str, &str)],
    found: &mut Vec<Diagnostic>,
) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                let path = diagnostic::child(path, key);
                if fields.contains(&(name, key.as_str())) {
                    found.push(Diagnostic::warning(path, "has no effect in this version"));
                } else {
                    below(value, key, &path, fields, found);
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                below(value, name, &diagnostic::item(path, index), fields, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use ironsail_crds::kind::{AUTHORIZATION_POLICY, KINDS, SIDECAR};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn found(kind: &Kind, spec: Value) -> Vec<String> {
        let findings = check(kind, &json!({ "spec": spec }));
        let lines = findings.iter().map(|d| format!("{} {d}", d.severity));
        lines.collect()
    }

    #[test]
    fn kinds() {
        assert_eq!(
            found(&SIDECAR, json!({})),
            ["warning Sidecar is not supported by this version and has no effect"]
        );
        assert_eq!(
            found(&AUTHORIZATION_POLICY, json!({})),
            [
                "error AuthorizationPolicy is not supported by this version and would not be enforced"
            ]
        );
        assert_eq!(found(&ISTIO_OPERATOR, json!({})), [""; 0]);
    }

    #[test]
    fn fields_at_every_level() {
        let policy = json!({
            "tunnel": {},
            "proxyProtocol": { "version": "V1" },
            "tls": { "mode": "SIMPLE", "caCrl": "/a" },
            "portLevelSettings": [{ "tls": { "caCrl": "/b" } }],
        });
        let spec = json!({ "trafficPolicy": policy, "subsets": [{ "trafficPolicy": policy }] });
        assert_eq!(
            found(&DESTINATION_RULE, spec),
            [
                "warning spec.trafficPolicy.tunnel: has no effect in this version",
                "warning spec.trafficPolicy.tls.caCrl: has no effect in this version",
                "warning spec.trafficPolicy.portLevelSettings[0].tls.caCrl: has no effect in this version",
                "warning spec.subsets[0].trafficPolicy.tunnel: has no effect in this version",
                "warning spec.subsets[0].trafficPolicy.tls.caCrl: has no effect in this version",
                "warning spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.caCrl: has no effect in this version",
            ]
        );
    }

    /// Rows name fields that exist.
    #[test]
    fn rows_are_fields() {
        fn has(schema: &Value, name: &str, row: (&str, &str)) -> bool {
            let fields = schema.get("properties").and_then(Value::as_object);
            let mut fields = fields.into_iter().flatten();
            let items = schema.get("items").is_some_and(|s| has(s, name, row));
            items || fields.any(|(key, inner)| (name, key.as_str()) == row || has(inner, key, row))
        }
        for (kind, above, field) in &WITHOUT_EFFECT {
            let spec = &kind.openapi()["properties"]["spec"];
            assert!(has(spec, "", (above, field)), "{above}.{field}");
        }
        assert!(
            ACTED_UPON
                .iter()
                .all(|kind| KINDS.iter().any(|k| is(k, kind)))
        );
    }
}
