//! Whether what was applied works: pure judgement of objects, and the one look at pods that
//! explains a workload that is not ready.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams};
use kube::core::Selector;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// State of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// Not yet; the text says what is missing.
    Waiting(String),
    /// It will not become ready by waiting.
    Failed(String),
}

/// A Deployment is ready when its newest version runs everywhere and serves.
pub fn deployment(deployment: &Deployment) -> Health {
    let name = deployment.name_any();
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let Some(status) = &deployment.status else {
        return Health::Waiting(format!("Deployment {name} is new"));
    };
    if status.observed_generation < deployment.metadata.generation {
        return Health::Waiting(format!("Deployment {name} is not rolled out yet"));
    }
    let stuck = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "Progressing"
            && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let all = status.replicas.unwrap_or(0);
    let missing = if updated < wanted {
        format!("{updated} of {wanted} pods are updated")
    } else if all > updated {
        format!("{} old pods still run", all - updated)
    } else if available < wanted {
        format!("{available} of {wanted} pods are available")
    } else {
        return Health::Ready;
    };
    let text = format!("Deployment {name}: {missing}");
    match stuck {
        Some(_) => Health::Failed(format!("{text}, and no progress is made")),
        None => Health::Waiting(text),
    }
}

/// A DaemonSet is ready when its newest version runs and serves on every node that it is for, and
/// there is one.
pub fn daemon_set(set: &DaemonSet) -> Health {
    let name = set.name_any();
    let Some(status) = &set.status else {
        return Health::Waiting(format!("DaemonSet {name} is new"));
    };
    if status.observed_generation < set.metadata.generation {
        return Health::Waiting(format!("DaemonSet {name} is not rolled out yet"));
    }
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let missing = if wanted == 0 {
        "there is no node for it".to_owned()
    } else if updated < wanted {
        format!("{updated} of {wanted} pods are updated")
    } else if status.number_ready < wanted {
        format!("{} of {wanted} pods are ready", status.number_ready)
    } else {
        return Health::Ready;
    };
    Health::Waiting(format!("DaemonSet {name}: {missing}"))
}

/// A definition serves its kind once it is established.
pub fn definition(object: &Value) -> Health {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let condition = |wanted: &str| {
        let conditions = object["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .find(|c| c["type"] == wanted)
            .cloned()
    };
    if let Some(accepted) = condition("NamesAccepted").filter(|c| c["status"] == "False") {
        let message = accepted["message"]
            .as_str()
            .unwrap_or("its names are taken");
        return Health::Failed(format!("CustomResourceDefinition {name}: {message}"));
    }
    match condition("Established") {
        Some(established) if established["status"] == "True" => Health::Ready,
        _ => Health::Waiting(format!(
            "CustomResourceDefinition {name} is not established yet"
        )),
    }
}

/// Why the newest of some pods is not ready, in the words of the cluster.
///
/// The answer is for people: what can't be read is `None`.
pub async fn pod_reason(
    client: &Client,
    namespace: &str,
    selector: LabelSelector,
) -> Option<String> {
    let selector: Selector = selector.try_into().ok()?;
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api
        .list(&ListParams::default().labels_from(&selector))
        .await
        .ok()?;
    let newest = pods
        .items
        .into_iter()
        .max_by_key(|pod| pod.metadata.creation_timestamp.clone())?;
    explain(&newest)
}

/// Why a pod is not ready.
pub fn explain(pod: &Pod) -> Option<String> {
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().flatten();
    let mut containers = containers.chain(status.container_statuses.iter().flatten());
    if let Some(text) = containers.find_map(waiting) {
        return Some(format!("pod {name}: {text}"));
    }
    let failed = |wanted: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions
            .into_iter()
            .find(|c| c.type_ == wanted && c.status == "False")
    };
    let condition = failed("PodScheduled").or_else(|| failed("Ready"))?;
    let message = condition
        .message
        .as_deref()
        .or(condition.reason.as_deref())?;
    Some(format!("pod {name}: {message}"))
}

/// What a container waits for, or how it ended.
fn waiting(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let name = &container.name;
    if let Some(ended) = state
        .terminated
        .as_ref()
        .filter(|ended| ended.exit_code != 0)
    {
        return Some(format!(
            "container {name} ended with exit code {}",
            ended.exit_code
        ));
    }
    let waiting = state.waiting.as_ref()?;
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    match (waiting.reason.as_deref()?, &waiting.message) {
        // Nothing is wrong in these states.
        ("ContainerCreating" | "PodInitializing", _) => None,
        // The message tells the back-off, which changes with each restart.
        (reason @ "CrashLoopBackOff", _) => Some(match last {
            Some(ended) => {
                let code = ended.exit_code;
                format!("container {name} is waiting: {reason}, last exit code {code}")
            }
            None => format!("container {name} is waiting: {reason}"),
        }),
        (reason, Some(message)) => {
            Some(format!("container {name} is waiting: {reason} ({message})"))
        }
        (reason, None) => Some(format!("container {name} is waiting: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(name: &str, spec: Value, status: Value, expected: Health) {
        let object = json!({"metadata": {"name": "istiod", "generation": 2}, "spec": spec, "status": status});
        let object: Deployment = serde_json::from_value(object).expect("a Deployment");
        assert_eq!(deployment(&object), expected, "{name}");
    }

    #[test]
    fn deployments() {
        let waiting = |text: &str| Health::Waiting(format!("Deployment istiod{text}"));
        let full = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        check("ready", json!({"replicas": 1}), full.clone(), Health::Ready);
        check(
            "scaled to none",
            json!({"replicas": 0}),
            json!({"observedGeneration": 2}),
            Health::Ready,
        );
        check(
            "not seen",
            json!({}),
            json!({"observedGeneration": 1}),
            waiting(" is not rolled out yet"),
        );
        check(
            "more wanted",
            json!({"replicas": 2}),
            full,
            waiting(": 1 of 2 pods are updated"),
        );
        let old = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
        check(
            "old pods",
            json!({"replicas": 1}),
            old,
            waiting(": 1 old pods still run"),
        );
        let stuck = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
        let text = "Deployment istiod: 0 of 1 pods are available, and no progress is made";
        check(
            "stuck",
            json!({"replicas": 1}),
            stuck,
            Health::Failed(text.into()),
        );
    }

    #[test]
    fn daemon_sets() {
        #[track_caller]
        fn check(name: &str, status: Value, expected: Health) {
            let object = json!({"metadata": {"name": "cni", "generation": 2}, "status": status});
            let object: DaemonSet = serde_json::from_value(object).expect("a DaemonSet");
            assert_eq!(daemon_set(&object), expected, "{name}");
        }
        let status = |desired: i32, updated: i32, ready: i32| {
            json!({"observedGeneration": 2, "currentNumberScheduled": desired,
                "desiredNumberScheduled": desired, "numberMisscheduled": 0,
                "updatedNumberScheduled": updated, "numberReady": ready})
        };
        let waiting = |text: &str| Health::Waiting(format!("DaemonSet cni{text}"));
        check("ready", status(2, 2, 2), Health::Ready);
        check(
            "no nodes",
            status(0, 0, 0),
            waiting(": there is no node for it"),
        );
        check("old", status(2, 1, 2), waiting(": 1 of 2 pods are updated"));
        check(
            "starting",
            status(2, 2, 1),
            waiting(": 1 of 2 pods are ready"),
        );
        let mut old = status(2, 2, 2);
        old["observedGeneration"] = json!(1);
        check("not seen", old, waiting(" is not rolled out yet"));
        check("new", Value::Null, waiting(" is new"));
    }

    #[test]
    fn pods_explain_themselves() {
        let pod = |status: Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status}))
                .expect("a pod")
        };
        let pulling = json!({"containerStatuses": [{"name": "discovery", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]});
        assert_eq!(
            explain(&pod(pulling)).as_deref(),
            Some("pod p: container discovery is waiting: ImagePullBackOff (no such image)")
        );
        let crashing = json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1}}}]});
        assert_eq!(
            explain(&pod(crashing)).as_deref(),
            Some("pod p: container c is waiting: CrashLoopBackOff, last exit code 1")
        );
        let ended = json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": 3, "state": {"terminated": {"exitCode": 2}}}]});
        assert_eq!(
            explain(&pod(ended)).as_deref(),
            Some("pod p: container c ended with exit code 2")
        );
        let unscheduled = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node fits"},
        ]});
        assert_eq!(
            explain(&pod(unscheduled)).as_deref(),
            Some("pod p: no node fits")
        );
        assert_eq!(explain(&pod(json!({}))), None);
    }

    #[test]
    fn definitions() {
        let crd = |conditions: Value| json!({"metadata": {"name": "x"}, "status": {"conditions": conditions}});
        assert_eq!(
            definition(&crd(json!([{"type": "Established", "status": "True"}]))),
            Health::Ready
        );
        assert!(matches!(definition(&crd(json!([]))), Health::Waiting(_)));
        let taken = json!([{"type": "NamesAccepted", "status": "False", "message": "taken"}]);
        assert!(matches!(definition(&crd(taken)), Health::Failed(text) if text.ends_with("taken")));
    }
}
