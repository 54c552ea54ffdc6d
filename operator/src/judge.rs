//! Whether single objects of a cluster work.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use serde_json::Value;

use crate::apply;
use crate::health::{self, Health};
use crate::object::Manifest;
use crate::observe::Seen;

/// Judges by what was seen; pods are asked for reasons.
pub struct Judge<'a> {
    pub client: &'a Client,
    pub seen: &'a Seen,
}

impl Judge<'_> {
    /// The health of an object that is there.
    pub async fn health(&self, object: &Manifest) -> Health {
        match object.kind().kind {
            "Deployment" => self.deployment(object).await,
            "DaemonSet" => self.daemon_set(object).await,
            "CustomResourceDefinition" => self.definition(object).await,
            _ => Health::Ready,
        }
    }

    async fn deployment(&self, object: &Manifest) -> Health {
        let Some(deployment) = self.seen.deployments.get(object.key()) else {
            return Health::Waiting(format!("Deployment {} is new", object.name()));
        };
        let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone());
        let health = health::deployment(deployment);
        self.explained(health, object.namespace(), selector).await
    }

    async fn daemon_set(&self, object: &Manifest) -> Health {
        let Some(set) = self.seen.daemon_sets.get(object.key()) else {
            return Health::Waiting(format!("DaemonSet {} is new", object.name()));
        };
        let selector = set.spec.as_ref().map(|spec| spec.selector.clone());
        let health = health::daemon_set(set);
        self.explained(health, object.namespace(), selector).await
    }

    /// With the reason of a pod, where something is missing.
    async fn explained(
        &self,
        health: Health,
        namespace: &str,
        pods: Option<LabelSelector>,
    ) -> Health {
        let (Some(pods), false) = (pods, health == Health::Ready) else {
            return health;
        };
        let Some(reason) = health::pod_reason(self.client, namespace, pods).await else {
            return health;
        };
        match health {
            Health::Ready => Health::Ready,
            Health::Waiting(text) => Health::Waiting(format!("{text}; {reason}")),
            Health::Failed(text) => Health::Failed(format!("{text}; {reason}")),
        }
    }

    async fn definition(&self, object: &Manifest) -> Health {
        let api = apply::api(self.client, object.kind(), "");
        match api.get(object.name()).await {
            Ok(live) => health::definition(&serde_json::to_value(&live).unwrap_or(Value::Null)),
            Err(error) => Health::Waiting(format!("{}: {}", object.key(), apply::reason(&error))),
        }
    }
}
