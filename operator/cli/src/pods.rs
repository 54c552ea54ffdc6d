//! Pods of the mesh: control planes and proxies, and their versions by their images.

use anyhow::Context as _;
use ironsail_kube::pages::Pages;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

const PROXY: &str = "istio-proxy";
const DISCOVERY: &str = "discovery";

/// A running pod with a part of the mesh in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshPod {
    pub namespace: String,
    pub name: String,
    /// Revision of the control plane that it is or belongs to; empty if it names none.
    pub revision: String,
    /// Tag of the image.
    pub version: String,
}

/// Control planes of a namespace.
///
/// # Errors
/// The API server refuses the list or can't be reached.
pub async fn control_planes(client: &Client, namespace: &str) -> anyhow::Result<Vec<MeshPod>> {
    let api = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels("app=istiod");
    with_container(api, params, DISCOVERY).await
}

/// Proxies of all namespaces: sidecars and gateways.
///
/// # Errors
/// The API server refuses the list or can't be reached.
pub async fn proxies(client: &Client) -> anyhow::Result<Vec<MeshPod>> {
    with_container(Api::all(client.clone()), ListParams::default(), PROXY).await
}

async fn with_container(
    api: Api<Pod>,
    params: ListParams,
    container: &str,
) -> anyhow::Result<Vec<MeshPod>> {
    let mut pages = Pages::of(params);
    let mut found = Vec::new();
    while let Some(params) = pages.next_request() {
        let page = api.list(params).await.context("pods can't be listed")?;
        pages.answered(&page.metadata);
        found.extend(page.items.iter().filter_map(|pod| mesh_pod(pod, container)));
    }
    Ok(found)
}

/// What a pod is to the mesh, if it runs and has the container.
fn mesh_pod(pod: &Pod, container: &str) -> Option<MeshPod> {
    let phase = pod.status.as_ref()?.phase.as_deref()?;
    let spec = pod.spec.as_ref()?;
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let own = containers.into_iter().find(|own| own.name == container)?;
    let label = pod.labels().get(ironsail_mesh::label::REVISION);
    let annotation = pod.annotations().get(ironsail_mesh::label::REVISION);
    (phase == "Running").then(|| MeshPod {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        revision: label.or(annotation).cloned().unwrap_or_default(),
        version: tag(own.image.as_deref().unwrap_or_default()).to_owned(),
    })
}

/// Tag of an image; `unknown` if it has none.
pub fn tag(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let name = name.split('@').next().unwrap_or_default();
    name.split_once(':').map_or("unknown", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_tags() {
        let cases = [
            ("ironsail/proxyv2:1.32.0-ironsail.1", "1.32.0-ironsail.1"),
            ("localhost:5000/proxyv2:1", "1"),
            ("localhost:5000/proxyv2", "unknown"),
            ("docker.io/istio/pilot:1.31.0@sha256:00", "1.31.0"),
            ("docker.io/istio/pilot@sha256:00", "unknown"),
        ];
        for (image, expected) in cases {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
