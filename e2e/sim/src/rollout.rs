//! Changes while calls are made: pods come and go, and configuration reaches proxies message by message.

use std::time::Duration;

use ironsail_controlplane::model::object::ObjectKind;

use crate::cluster::Condition;
use crate::mesh::Mesh;

/// Between two messages of a stream; longer than a proxy needs to take one over.
const PAUSE: Duration = Duration::from_millis(2);

impl Mesh {
    /// As [`Mesh::apply`], while time passes between the messages that proxies get.
    ///
    /// # Errors
    /// As [`Mesh::apply`].
    pub async fn apply_live(&mut self, namespace: &str, text: &str) -> anyhow::Result<()> {
        self.installation.apply(namespace, text)?;
        self.spread().await
    }

    /// Names of the pods of a deployment, the oldest first.
    pub fn pods_of(&self, namespace: &str, deployment: &str) -> Vec<String> {
        self.installation.cluster.pods_of(namespace, deployment)
    }

    /// Starts one more pod of a deployment, which is not ready yet; returns its name.
    ///
    /// # Errors
    /// There is no such deployment, or a proxy rejects a resource.
    pub async fn add_pod(&mut self, namespace: &str, deployment: &str) -> anyhow::Result<String> {
        let (name, objects) = self.installation.cluster.add_pod(namespace, deployment)?;
        self.installation.see(objects)?;
        self.spread().await?;
        self.start_pods()?;
        Ok(name)
    }

    /// Lets endpoint slices say something else of a pod.
    ///
    /// # Errors
    /// A proxy rejects a resource.
    pub async fn set_condition(
        &mut self,
        namespace: &str,
        pod: &str,
        condition: Condition,
    ) -> anyhow::Result<()> {
        let objects = self
            .installation
            .cluster
            .set_condition(namespace, pod, condition);
        self.installation.see(objects)?;
        self.spread().await
    }

    /// Tells a pod to end, whose `preStop` hook takes so long; nobody else is told.
    pub fn terminate(&self, namespace: &str, pod: &str, pre_stop: Duration) {
        let pods = self.network.pods();
        let mut own = pods
            .iter()
            .filter(|own| own.namespace == namespace && own.name == pod);
        if let Some(pod) = own.next() {
            pod.terminate(pre_stop);
        }
    }

    /// Ends a pod: connections that it still has break.
    ///
    /// # Errors
    /// A proxy rejects a resource.
    pub async fn remove_pod(&mut self, namespace: &str, pod: &str) -> anyhow::Result<()> {
        self.network.remove(namespace, pod);
        let objects = self.installation.cluster.remove_pod(namespace, pod);
        self.installation.forget(ObjectKind::Pod, namespace, pod);
        self.installation.see(objects)?;
        self.spread().await
    }

    async fn spread(&mut self) -> anyhow::Result<()> {
        let changes = self.publish();
        for pod in self.network.pods() {
            if let Some(proxy) = &pod.proxy {
                proxy.spread(&self.snapshot, &changes, PAUSE).await?;
            }
        }
        Ok(())
    }
}
