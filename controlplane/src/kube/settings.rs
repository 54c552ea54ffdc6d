//! The ConfigMaps of an installation: `istio` (mesh) and `istio-sidecar-injector`.
//!
//! A document that cannot be read is reported, and the last good one stays in use.

use std::sync::Arc;

use futures::StreamExt;
use ironsail_inject::InjectorConfig;
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use ironsail_runtime::log::chain;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use kube_runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::webhook::Settings;

/// Key of the mesh document.
const MESH_KEY: &str = "mesh";

/// What both ConfigMaps say; `None` until they were looked for.
pub struct SettingsWatch {
    pub client: Client,
    pub namespace: String,
    pub revision: Revision,
}

impl SettingsWatch {
    /// Starts watching. The first value is there once both were looked for, whether they exist or not.
    pub fn start(self, shutdown: &Shutdown) -> watch::Receiver<Option<Arc<Settings>>> {
        let (sender, receiver) = watch::channel(None);
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            shutdown.guard(self.run(sender)).await;
        });
        receiver
    }

    async fn run(self, sender: watch::Sender<Option<Arc<Settings>>>) {
        let mut mesh_maps = self.watch(&self.revision.suffixed("istio"));
        let mut injector_maps = self.watch(&self.revision.suffixed("istio-sidecar-injector"));
        let mut mesh: Option<MeshConfig> = None;
        let mut injector: Option<InjectorConfig> = None;
        loop {
            tokio::select! {
                Some(found) = mesh_maps.next() => read(&mut mesh, found, "mesh", parse_mesh),
                Some(found) = injector_maps.next() => read(&mut injector, found, "injector", parse_injector),
                else => return,
            }
            if let (Some(mesh), Some(injector)) = (&mesh, &injector) {
                let settings = Settings {
                    mesh: mesh.clone(),
                    injector: injector.clone(),
                };
                sender.send_replace(Some(Arc::new(settings)));
            }
        }
    }

    /// The ConfigMap of this name now and after each change; `None` when it is absent.
    fn watch(&self, name: &str) -> futures::stream::BoxStream<'static, Option<ConfigMap>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut is_listed = false;
        watcher::watcher(api, config)
            .default_backoff()
            .filter_map(move |event| {
                let found = match event {
                    Ok(watcher::Event::Init) => {
                        is_listed = false;
                        None
                    }
                    Ok(watcher::Event::InitApply(map) | watcher::Event::Apply(map)) => {
                        is_listed = true;
                        Some(Some(map))
                    }
                    Ok(watcher::Event::InitDone) if !is_listed => Some(None),
                    Ok(watcher::Event::InitDone) => None,
                    // What was in use stays in use: an installation without its ConfigMap is being changed.
                    Ok(watcher::Event::Delete(_)) => None,
                    Err(error) => {
                        warn!(error = %chain(&error), "Configuration cannot be watched");
                        None
                    }
                };
                futures::future::ready(found)
            })
            .boxed()
    }
}

fn read<T: Default>(
    current: &mut Option<T>,
    found: Option<ConfigMap>,
    what: &'static str,
    parse: impl Fn(&ConfigMap) -> Result<T, String>,
) {
    let Some(map) = found else {
        if current.is_none() {
            warn!(
                document = what,
                "Configuration is absent, defaults are used"
            );
            *current = Some(T::default());
        }
        return;
    };
    match parse(&map) {
        Ok(parsed) => {
            info!(document = what, "Configuration read");
            *current = Some(parsed);
        }
        Err(error) => {
            warn!(document = what, %error, "Configuration cannot be read, the last good one stays");
            if current.is_none() {
                *current = Some(T::default());
            }
        }
    }
}

fn parse_mesh(map: &ConfigMap) -> Result<MeshConfig, String> {
    let text = map.data.as_ref().and_then(|data| data.get(MESH_KEY));
    let text = text.map_or("{}", String::as_str);
    serde_yaml_ng::from_str(text).map_err(|error| error.to_string())
}

fn parse_injector(map: &ConfigMap) -> Result<InjectorConfig, String> {
    let key = |key: &str| {
        let data = map.data.as_ref()?;
        data.get(key).map(String::as_str)
    };
    InjectorConfig::parse(key("config"), key("values")).map_err(|error| error.to_string())
}
