//! What is in the cluster, and the control plane's model of it. No proxy is here.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use ironsail_controlplane::model::change::ChangeSet;
use ironsail_controlplane::model::object::{Change, Object, ObjectKind};
use ironsail_controlplane::model::snapshot::{Options, Snapshot, SnapshotBuilder};
use ironsail_mesh::mesh_config::MeshConfig;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::object::{documents, model, title};

/// Kinds from which nothing else in the cluster follows.
const CONFIGURATION: [ObjectKind; 5] = [
    ObjectKind::VirtualService,
    ObjectKind::DestinationRule,
    ObjectKind::Gateway,
    ObjectKind::PeerAuthentication,
    ObjectKind::Secret,
];

/// A cluster with a mesh.
pub struct Installation {
    pub cluster: Cluster,
    builder: SnapshotBuilder,
    mesh_config: MeshConfig,
}

impl Installation {
    /// What an IstioOperator installs; `settings` go into its mesh configuration.
    ///
    /// # Errors
    /// The operator refuses it.
    pub fn new(
        operator: &str,
        settings: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> anyhow::Result<Self> {
        let mut installation = Self {
            cluster: Cluster::default(),
            builder: SnapshotBuilder::new(Options::default()),
            mesh_config: MeshConfig::default(),
        };
        let mut all = documents(operator)?;
        let (Some(mut operator), true) = (all.pop(), all.is_empty()) else {
            bail!("one IstioOperator is expected");
        };
        for (key, value) in settings {
            operator["spec"]["meshConfig"][key] = value;
        }
        let rendered = ironsail_operator::render_object(&operator, &Default::default());
        let rendered = rendered.map_err(|findings| anyhow!("{findings:#?}"))?;
        for object in &rendered.objects {
            if !object.is_definition() {
                installation.take(&rendered.istio_namespace, object.body().into_owned())?;
            }
        }
        Ok(installation)
    }

    /// Takes all objects of a YAML text, those without a namespace in `namespace`.
    ///
    /// # Errors
    /// An object is malformed or of a kind that is not simulated.
    pub fn apply(&mut self, namespace: &str, text: &str) -> anyhow::Result<()> {
        for document in documents(text)? {
            self.take(namespace, document)?;
        }
        Ok(())
    }

    /// Forgets an object of the mesh's configuration.
    ///
    /// # Errors
    /// Objects of the kind cannot be deleted here.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        let kind = CONFIGURATION
            .into_iter()
            .find(|known| known.as_str() == kind);
        let kind = kind.context("objects of the kind cannot be deleted here")?;
        self.forget(kind, namespace, name);
        Ok(())
    }

    /// Lets the control plane see that an object is gone.
    pub(crate) fn forget(&mut self, kind: ObjectKind, namespace: &str, name: &str) {
        self.builder.apply(Change::Delete {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    }

    /// Lets the control plane see objects as its watches bring them.
    pub(crate) fn see(&mut self, objects: Vec<Value>) -> anyhow::Result<()> {
        for object in objects {
            self.builder.apply(Change::Upsert(model(object)?));
        }
        Ok(())
    }

    /// The newest snapshot, and what changed since the last one.
    pub fn snapshot(&mut self) -> (Arc<Snapshot>, ChangeSet) {
        if self.mesh_config != *self.cluster.mesh() {
            self.mesh_config = self.cluster.mesh().clone();
            let config = Box::new(self.mesh_config.clone());
            self.builder
                .apply(Change::Upsert(Object::MeshConfig(config)));
        }
        self.builder.snapshot()
    }

    fn take(&mut self, namespace: &str, document: Value) -> anyhow::Result<()> {
        let title = title(&document);
        let objects = self.cluster.apply(namespace, document);
        self.see(objects.with_context(|| title)?)
    }
}
