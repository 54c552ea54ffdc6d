//! The workload a pod belongs to, read from what the pod itself carries.

use serde_json::Value;

/// A workload: `apps/v1`, `Deployment`, `web`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    /// Empty when nothing names the workload.
    pub name: String,
}

/// Digits of the schedule time that a CronJob appends to the names of its Jobs.
const CRON_SUFFIX_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

impl Owner {
    /// The controller of a pod, seen through ReplicaSets to Deployments and Argo Rollouts, through Jobs to CronJobs
    /// and through ReplicationControllers to DeploymentConfigs. Without a controller the pod itself.
    pub fn of_pod(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &pod["metadata"];
        let itself = Self {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: text(&metadata["name"]),
        };
        let generated = metadata["generateName"]
            .as_str()
            .is_some_and(|name| !name.is_empty());
        let controller = metadata["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|reference| reference["controller"] == Value::Bool(true));
        let Some(controller) = controller.filter(|_| generated) else {
            return itself;
        };
        let owner = Self {
            api_version: text(&controller["apiVersion"]),
            kind: text(&controller["kind"]),
            name: text(&controller["name"]),
        };
        let label = |key: &str| metadata["labels"][key].as_str().filter(|v| !v.is_empty());
        owner.seen_through(label)
    }

    fn seen_through<'a>(self, label: impl Fn(&str) -> Option<&'a str>) -> Self {
        let trimmed = |key: &str| {
            let suffix = format!("-{}", label(key)?);
            self.name.strip_suffix(&suffix).map(str::to_owned)
        };
        let (kind, name, api_version) = match self.kind.as_str() {
            "ReplicaSet" => match (
                trimmed("pod-template-hash"),
                trimmed("rollouts-pod-template-hash"),
            ) {
                (_, Some(name)) => ("Rollout", name, "argoproj.io/v1alpha1"),
                (Some(name), None) => ("Deployment", name, self.api_version.as_str()),
                (None, None) => return self,
            },
            "ReplicationController" => match label("deploymentconfig") {
                Some(name) => (
                    "DeploymentConfig",
                    name.to_owned(),
                    self.api_version.as_str(),
                ),
                None => return self,
            },
            "Job" => match self.name.rsplit_once('-') {
                Some((name, digits))
                    if CRON_SUFFIX_DIGITS.contains(&digits.len())
                        && digits.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    ("CronJob", name.to_owned(), "batch/v1")
                }
                _ => return self,
            },
            _ => return self,
        };
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name,
        }
    }

    /// `kubernetes://apis/<group>/<version>/namespaces/<namespace>/<kinds>/<name>`.
    pub fn path(&self, namespace: &str) -> String {
        format!(
            "kubernetes://apis/{}/namespaces/{namespace}/{}s/{}",
            self.api_version,
            self.kind.to_lowercase(),
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(kind: &str, name: &str, labels: Value, expected: (&str, &str)) {
        let pod = json!({"metadata": {
            "generateName": "x-",
            "labels": labels,
            "ownerReferences": [
                {"kind": "Other", "name": "o", "apiVersion": "v1"},
                {"kind": kind, "name": name, "apiVersion": "apps/v1", "controller": true},
            ],
        }});
        let owner = Owner::of_pod(&pod);
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), expected);
    }

    #[test]
    fn controllers_are_seen_through() {
        check(
            "ReplicaSet",
            "web-7c9",
            json!({"pod-template-hash": "7c9"}),
            ("Deployment", "web"),
        );
        check(
            "ReplicaSet",
            "web-7c9",
            json!({"pod-template-hash": "other"}),
            ("ReplicaSet", "web-7c9"),
        );
        check(
            "ReplicaSet",
            "web-7c9",
            json!({"rollouts-pod-template-hash": "7c9"}),
            ("Rollout", "web"),
        );
        check("Job", "backup-28412340", json!({}), ("CronJob", "backup"));
        check(
            "Job",
            "backup-2841x340",
            json!({}),
            ("Job", "backup-2841x340"),
        );
        check(
            "ReplicationController",
            "web-1",
            json!({"deploymentconfig": "web"}),
            ("DeploymentConfig", "web"),
        );
        check("StatefulSet", "db", json!(null), ("StatefulSet", "db"));
    }

    #[test]
    fn a_bare_pod_is_its_own_owner() {
        let owner = Owner::of_pod(&json!({"metadata": {"name": "web"}}));
        assert_eq!(
            owner.path("shop"),
            "kubernetes://apis/v1/namespaces/shop/pods/web"
        );
        assert_eq!(Owner::of_pod(&json!({})).name, "");
    }
}
