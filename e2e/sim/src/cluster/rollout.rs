//! Pods that come and go, as endpoint slices tell it.

use anyhow::Context;
use serde_json::{Value, json};

use super::{Cluster, TEMPLATE_HASH, pod_of};

/// What an endpoint slice says of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    Starting,
    #[default]
    Ready,
    /// It was deleted, and still serves.
    Terminating,
}

impl Condition {
    /// `conditions` of an endpoint.
    pub(super) fn of_endpoint(self) -> Value {
        json!({
            "ready": self == Condition::Ready,
            "serving": self != Condition::Starting,
            "terminating": self == Condition::Terminating,
        })
    }
}

impl Cluster {
    pub(super) fn condition(&self, namespace: &str, pod: &str) -> Condition {
        let key = (namespace.to_owned(), pod.to_owned());
        self.conditions.get(&key).copied().unwrap_or_default()
    }

    /// Names of the pods of a deployment, the oldest first.
    pub fn pods_of(&self, namespace: &str, deployment: &str) -> Vec<String> {
        let prefix = format!("{deployment}-{TEMPLATE_HASH}-");
        let number = |name: &str| name.strip_prefix(&prefix)?.parse::<u32>().ok();
        let own = self.pods.keys().filter(|(own, _)| own == namespace);
        let mut own: Vec<_> = own
            .filter_map(|(_, name)| Some((number(name)?, name)))
            .collect();
        own.sort();
        own.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Starts one more pod of a deployment; returns its name, and what watches see.
    ///
    /// # Errors
    /// There is no such deployment, or admission refuses the pod.
    pub fn add_pod(
        &mut self,
        namespace: &str,
        deployment: &str,
    ) -> anyhow::Result<(String, Vec<Value>)> {
        let key = (namespace.to_owned(), deployment.to_owned());
        let object = self
            .deployments
            .get(&key)
            .context("there is no such deployment")?;
        // Numbers are not used again.
        let name = format!("{deployment}-{TEMPLATE_HASH}-{}", self.addresses + 1);
        let pod = pod_of(object, &name);
        let key = (namespace.to_owned(), name.clone());
        self.conditions.insert(key, Condition::Starting);
        Ok((name, self.create_pod(namespace, pod)?))
    }

    /// Says something else of a pod; returns what watches see.
    pub fn set_condition(
        &mut self,
        namespace: &str,
        pod: &str,
        condition: Condition,
    ) -> Vec<Value> {
        let key = (namespace.to_owned(), pod.to_owned());
        self.conditions.insert(key, condition);
        self.slices(namespace)
    }

    /// Forgets a pod; returns what watches see of the rest.
    pub fn remove_pod(&mut self, namespace: &str, pod: &str) -> Vec<Value> {
        let key = (namespace.to_owned(), pod.to_owned());
        self.pods.remove(&key);
        self.conditions.remove(&key);
        self.slices(namespace)
    }
}
