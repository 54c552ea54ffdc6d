//! What GitOps tools make of an object: Argo CD's rule for IstioOperators and the rules of kstatus,
//! which Flux and `kubectl wait`-like tools use.
//!
//! Written from the documented behaviour: `resource_customizations/install.istio.io` of Argo CD and
//! the README of `kubernetes-sigs/cli-utils/pkg/kstatus`.

use serde_json::Value;

/// Health as Argo CD shows it.
pub fn argo(object: &Value) -> &'static str {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Progressing";
    }
    match object["status"]["status"].as_str() {
        Some("NONE") => "Unknown",
        Some("HEALTHY") => "Healthy",
        Some("ERROR") => "Degraded",
        _ => "Progressing",
    }
}

/// State by kstatus.
pub fn kstatus(object: &Value) -> &'static str {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let status = &object["status"];
    let observed = &status["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    let is = |name: &str, wanted: &str| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions
            .into_iter()
            .any(|condition| condition["type"] == name && condition["status"] == wanted)
    };
    if is("Reconciling", "True") {
        "InProgress"
    } else if is("Stalled", "True") {
        "Failed"
    } else if is("Ready", "False") || is("Ready", "Unknown") {
        "InProgress"
    } else {
        "Current"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_without_status_look_finished_to_kstatus_and_new_to_argo() {
        let object = json!({"metadata": {"generation": 1}});
        assert_eq!(
            (argo(&object), kstatus(&object)),
            ("Progressing", "Current")
        );
        let object = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}});
        assert_eq!(kstatus(&object), "InProgress");
    }

    #[test]
    fn stalled_is_failed_unless_work_goes_on() {
        let object =
            |conditions: Value| json!({"metadata": {}, "status": {"conditions": conditions}});
        let stalled = json!({"type": "Stalled", "status": "True"});
        let reconciling = json!({"type": "Reconciling", "status": "True"});
        assert_eq!(kstatus(&object(json!([stalled]))), "Failed");
        assert_eq!(
            kstatus(&object(json!([stalled, reconciling]))),
            "InProgress"
        );
    }
}
