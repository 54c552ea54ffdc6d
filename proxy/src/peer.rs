//! Who the workload on the other side is: the metadata that telemetry labels come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_mesh::label;
use ironsail_runtime::shared::shared_text;
use ironsail_xds::ordered::{Kind, Struct, Value};

/// Key of the metadata of the cluster a proxy runs in.
const CLUSTER_ID: &str = "CLUSTER_ID";
const INSTANCE: &str = "NAME";
const LABELS: &str = "LABELS";
const NAMESPACE: &str = "NAMESPACE";
const OWNER: &str = "OWNER";
const WORKLOAD: &str = "WORKLOAD_NAME";

/// A workload as its proxy, or the control plane, describes it. Unknown parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerMetadata {
    /// Pod name.
    pub instance: Arc<str>,
    pub namespace: Arc<str>,
    pub workload: Arc<str>,
    /// `kubernetes://apis/apps/v1/namespaces/<namespace>/deployments/<name>`
    pub owner: Arc<str>,
    pub cluster: Arc<str>,
    pub app: Arc<str>,
    pub version: Arc<str>,
    pub canonical_name: Arc<str>,
    pub canonical_revision: Arc<str>,
}

impl PeerMetadata {
    /// Reads node metadata as proxies exchange it.
    pub fn from_node(metadata: &Struct) -> Self {
        let empty = BTreeMap::new();
        let labels = match metadata.fields.get(LABELS).and_then(|v| v.kind.as_ref()) {
            Some(Kind::Struct(labels)) => &labels.fields,
            _ => &empty,
        };
        let field = |key| text(&metadata.fields, key);
        let workload = field(WORKLOAD);
        let find = |key: &str| labels.get(key).and_then(as_str);
        let (canonical_name, canonical_revision) = label::canonical(find, workload);
        Self {
            instance: field(INSTANCE).into(),
            namespace: field(NAMESPACE).into(),
            workload: workload.into(),
            owner: field(OWNER).into(),
            cluster: field(CLUSTER_ID).into(),
            app: text(labels, label::APP).into(),
            version: text(labels, label::VERSION).into(),
            canonical_name: canonical_name.into(),
            canonical_revision: canonical_revision.into(),
        }
    }

    /// Writes the fields that proxies exchange; the inverse of [`PeerMetadata::from_node`].
    pub fn to_node(&self) -> Struct {
        let entries = |pairs: &[(&str, &Arc<str>)]| -> Struct {
            pairs
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (*key, Value::from(&***value)))
                .collect()
        };
        let mut node = entries(&[
            (INSTANCE, &self.instance),
            (NAMESPACE, &self.namespace),
            (WORKLOAD, &self.workload),
            (OWNER, &self.owner),
            (CLUSTER_ID, &self.cluster),
        ]);
        let labels = entries(&[
            (label::APP, &self.app),
            (label::VERSION, &self.version),
            (label::CANONICAL_NAME, &self.canonical_name),
            (label::CANONICAL_REVISION, &self.canonical_revision),
        ]);
        node.fields.insert(LABELS.to_owned(), Value::from(labels));
        node
    }

    /// Reads the endpoint metadata `istio.workload`:
    /// `<workload>;<namespace>;<canonical name>;<canonical revision>;<cluster>`.
    pub fn from_endpoint(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let mut next = || parts.next().map(shared_text);
        Some(Self {
            workload: next()?,
            namespace: next()?,
            canonical_name: next()?,
            canonical_revision: next()?,
            cluster: next()?,
            ..Self::default()
        })
    }
}

fn as_str(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::String(text)) => Some(text),
        _ => None,
    }
}

fn text<'a>(fields: &'a BTreeMap<String, Value>, key: &str) -> &'a str {
    fields.get(key).and_then(as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_metadata_round_trips() {
        let peer = PeerMetadata {
            instance: "reviews-v1-abc".into(),
            namespace: "default".into(),
            workload: "reviews-v1".into(),
            owner: "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1".into(),
            cluster: "Kubernetes".into(),
            app: "reviews".into(),
            version: "v1".into(),
            canonical_name: "reviews".into(),
            canonical_revision: "v1".into(),
        };
        assert_eq!(PeerMetadata::from_node(&peer.to_node()), peer);
    }

    #[test]
    fn endpoint_metadata_has_five_parts() {
        let peer = PeerMetadata::from_endpoint("web-0;shop;web;;Kubernetes").expect("five parts");
        assert_eq!(&*peer.workload, "web-0");
        assert_eq!(&*peer.namespace, "shop");
        assert_eq!(&*peer.cluster, "Kubernetes");
        assert!(PeerMetadata::from_endpoint("web-0;shop").is_none());
    }

    #[test]
    fn canonical_name_falls_back_to_labels_and_workload() {
        let node: Struct = [
            (WORKLOAD, Value::from("reviews-v1")),
            (
                LABELS,
                Value::from(
                    [("app", Value::from("reviews"))]
                        .into_iter()
                        .collect::<Struct>(),
                ),
            ),
        ]
        .into_iter()
        .collect();
        let peer = PeerMetadata::from_node(&node);
        assert_eq!(&*peer.canonical_name, "reviews");
        assert_eq!(&*peer.canonical_revision, "latest");
    }
}
