//! ConfigMap `istio-ca-root-cert` in every namespace: how workloads come to trust the control plane.
//!
//! Done by the leader. An edited or deleted ConfigMap is made good; terminating namespaces are left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use ironsail_runtime::log::chain;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::core::Status;
use kube::{Client, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Name of the ConfigMap.
pub const NAME: &str = "istio-ca-root-cert";
/// Key with the roots in PEM.
pub const KEY: &str = "root-cert.pem";
/// On the ConfigMaps, so that they can be watched alone.
const CONFIG_LABEL: (&str, &str) = ("istio.io/config", "true");

const FIELD_MANAGER: &str = "pilot-discovery";

/// Namespaces that never run workloads of a mesh.
const LEFT_OUT: [&str; 3] = ["kube-node-lease", "kube-public", "local-path-storage"];

/// Wait after a failure before everything is looked at again.
const RETRY: Duration = Duration::from_secs(2);

/// Writes the roots until `shutdown`; `roots` is PEM.
pub async fn distribute(client: Client, roots: watch::Receiver<Vec<u8>>, shutdown: Shutdown) {
    let mut keeper = Keeper {
        client,
        roots,
        namespaces: BTreeMap::new(),
    };
    while !shutdown.is_triggered() {
        tokio::select! {
            () = shutdown.triggered() => return,
            () = keeper.watch() => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

struct Keeper {
    client: Client,
    roots: watch::Receiver<Vec<u8>>,
    /// Live namespaces, and the text their ConfigMap was last seen to hold.
    namespaces: BTreeMap<String, Option<String>>,
}

impl Keeper {
    /// Returns when a watch ends.
    async fn watch(&mut self) {
        self.namespaces.clear();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let config_maps: Api<ConfigMap> = Api::all(self.client.clone());
        let selector = format!("{}={}", CONFIG_LABEL.0, CONFIG_LABEL.1);
        let mut namespaces = watcher::watcher(namespaces, watcher::Config::default())
            .default_backoff()
            .boxed();
        let ours = watcher::Config::default().labels(&selector);
        let mut config_maps = watcher::watcher(config_maps, ours)
            .default_backoff()
            .boxed();
        loop {
            let touched = tokio::select! {
                changed = self.roots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.namespaces.keys().cloned().collect()
                }
                event = namespaces.next() => match event {
                    Some(Ok(event)) => self.namespace(event),
                    Some(Err(error)) => {
                        debug!(error = %chain(&error), "Namespaces cannot be watched");
                        Vec::new()
                    }
                    None => return,
                },
                event = config_maps.next() => match event {
                    Some(Ok(event)) => self.config_map(event),
                    Some(Err(error)) => {
                        debug!(error = %chain(&error), "Root certificates cannot be watched");
                        Vec::new()
                    }
                    None => return,
                },
            };
            for namespace in touched {
                self.write(&namespace).await;
            }
        }
    }

    fn namespace(&mut self, event: watcher::Event<Namespace>) -> Vec<String> {
        match event {
            watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace) => {
                let name = namespace.name_any();
                if LEFT_OUT.contains(&name.as_str()) {
                    return Vec::new();
                }
                if namespace.metadata.deletion_timestamp.is_some() {
                    self.namespaces.remove(&name);
                    return Vec::new();
                }
                self.namespaces.entry(name.clone()).or_default();
                vec![name]
            }
            watcher::Event::Delete(namespace) => {
                self.namespaces.remove(&namespace.name_any());
                Vec::new()
            }
            watcher::Event::Init | watcher::Event::InitDone => Vec::new(),
        }
    }

    fn config_map(&mut self, event: watcher::Event<ConfigMap>) -> Vec<String> {
        let (config_map, is_gone) = match event {
            watcher::Event::Apply(map) | watcher::Event::InitApply(map) => (map, false),
            watcher::Event::Delete(map) => (map, true),
            watcher::Event::Init | watcher::Event::InitDone => return Vec::new(),
        };
        let namespace = config_map.namespace().unwrap_or_default();
        if config_map.name_any() != NAME {
            return Vec::new();
        }
        let Some(seen) = self.namespaces.get_mut(&namespace) else {
            return Vec::new();
        };
        *seen = match is_gone {
            true => None,
            false => config_map.data.and_then(|mut data| data.remove(KEY)),
        };
        vec![namespace]
    }

    async fn write(&mut self, namespace: &str) {
        let roots = String::from_utf8_lossy(&self.roots.borrow_and_update()).into_owned();
        if roots.is_empty() || self.namespaces.get(namespace) == Some(&Some(roots.clone())) {
            return;
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        match put(&api, namespace, &roots).await {
            Ok(()) => {
                self.namespaces.insert(namespace.to_owned(), Some(roots));
            }
            // The namespace is going, or another replica was faster: its event comes.
            Err(kube::Error::Api(status))
                if status.code == 404 || status.code == 409 || is_terminating(&status) =>
            {
                debug!(%namespace, message = %status.message, "Root certificate not written");
            }
            Err(error) => {
                warn!(%namespace, error = %chain(&error), "Root certificate cannot be written")
            }
        }
    }
}

/// Creates the ConfigMap, or gives the one that is there its content back. The role grants create and update, not patch.
async fn put(api: &Api<ConfigMap>, namespace: &str, roots: &str) -> kube::Result<()> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..Default::default()
    };
    let mut config_map = match api.get_opt(NAME).await? {
        Some(existing) => existing,
        None => ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..Default::default()
            },
            ..Default::default()
        },
    };
    let labels = config_map.metadata.labels.get_or_insert_default();
    labels.insert(CONFIG_LABEL.0.to_owned(), CONFIG_LABEL.1.to_owned());
    let data = config_map.data.get_or_insert_default();
    data.insert(KEY.to_owned(), roots.to_owned());
    match config_map.metadata.resource_version {
        Some(_) => api.replace(NAME, &params, &config_map).await.map(drop),
        None => api.create(&params, &config_map).await.map(drop),
    }
}

fn is_terminating(status: &Status) -> bool {
    status.code == 403 && status.message.contains("being terminated")
}
