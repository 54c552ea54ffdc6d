//! The control plane as a whole: what is started, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ironsail_kube::election::{Election, Timing};
use ironsail_runtime::admin::{Limits, Server, json, typed};
use ironsail_runtime::log::chain;
use ironsail_runtime::readiness::Readiness;
use ironsail_runtime::signal::{Shutdown, Signals};
use ironsail_runtime::{process, version};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::bootstrap::Bootstrap;
use crate::ca::authenticate::{Authenticator, KubeReviewer, TrustDomains};
use crate::ca::authority::TtlPolicy;
use crate::ca::handle::{CaHandle, CaState};
use crate::ca::lifecycle::Lifecycle;
use crate::ca::metrics::CaMetrics;
use crate::ca::root;
use crate::ca::secret::KubeSecrets;
use crate::ca::service::CaService;
use crate::ca::serving::{Serving, dns_names};
use crate::config_store::ConfigStore;
use crate::debug;
use crate::kube::gate::KubeGate;
use crate::kube::settings::SettingsWatch;
use crate::kube::{root_cert, watch as kube_watch};
use crate::model::snapshot::{Options, SnapshotBuilder};
use crate::push::Publisher;
use crate::server::GrpcServer;
use crate::webhook::{Configurations, Settings, Webhooks};
use crate::xds::{self, Connections, Discovery};

/// Lease of the distribution of the root certificate.
const ROOT_CERT_LEASE: &str = "istio-namespace-controller-election";

/// Files of a plugged authority.
const PLUGGED: &str = "/etc/cacerts";

/// Requests of the API server: pods are at most 1.5 MiB.
const MAX_WEBHOOK_BODY: usize = 4 << 20;

/// Time for requests under way when the process is asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs until a signal.
///
/// # Errors
/// A port is taken, or the cluster's address is unknown.
pub async fn run(bootstrap: Bootstrap) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let mut signals = Signals::install()?;
    let readiness = Readiness::new();
    let client = ironsail_kube::client::connect().await?;
    let parts = Parts {
        registry: Registry::new(),
        readiness,
        client,
        shutdown: shutdown.clone(),
        bootstrap,
    };
    parts.start().await?;
    let signal = signals.next().await;
    info!(?signal, "Ending");
    shutdown.trigger();
    tokio::time::sleep(GRACE.min(Duration::from_millis(200))).await;
    Ok(())
}

struct Parts {
    bootstrap: Bootstrap,
    client: Client,
    registry: Registry,
    readiness: Readiness,
    shutdown: Shutdown,
}

impl Parts {
    async fn start(self) -> anyhow::Result<()> {
        let bootstrap = &self.bootstrap;
        let settings = SettingsWatch {
            client: self.client.clone(),
            namespace: bootstrap.namespace.clone(),
            revision: bootstrap.revision.clone(),
        }
        .start(&self.shutdown);
        let publisher = Publisher::default();
        self.start_config(&publisher, &settings);

        let domains = Arc::new(ArcSwap::from_pointee(TrustDomains(vec![
            ironsail_mesh::identity::DEFAULT_TRUST_DOMAIN.to_owned(),
        ])));
        let authenticator = Authenticator::new(
            Arc::new(KubeReviewer::new(self.client.clone())),
            bootstrap.audiences.clone(),
            Arc::clone(&domains),
        );
        tokio::spawn(follow_trust_domains(settings.clone(), domains));
        let ca_metrics = CaMetrics::register(&self.registry)?;
        let (ca, serving) = self.start_authority(&ca_metrics, &settings);

        let connections = Connections::default();
        let discovery = Discovery {
            publisher: publisher.clone(),
            cache: Arc::default(),
            gate: Arc::new(KubeGate::new(self.client.clone(), authenticator.clone())),
            connections: connections.clone(),
            metrics: xds::Metrics::register(&self.registry)?,
        };
        let certificates = Arc::new(CaService {
            handle: ca.clone(),
            authenticator,
            policy: TtlPolicy::default(),
            metrics: ca_metrics,
        });
        self.serve_grpc(discovery, certificates, &serving).await?;
        self.serve_webhooks(&settings, &ca, &serving).await?;
        let source = debug::Source {
            publisher,
            connections,
            settings,
        };
        self.serve_http(source.clone()).await?;
        self.serve_monitoring(source).await?;
        self.distribute_root(&ca);
        Ok(())
    }

    fn start_config(
        &self,
        publisher: &Publisher,
        settings: &watch::Receiver<Option<Arc<Settings>>>,
    ) {
        let bootstrap = &self.bootstrap;
        let store = ConfigStore {
            builder: SnapshotBuilder::new(Options {
                cluster_domain: bootstrap.domain.clone(),
                cluster_id: bootstrap.cluster_id.clone(),
                revision: bootstrap.revision.label().to_owned(),
            }),
            publisher: publisher.clone(),
            synced: self.readiness.condition("configuration"),
        };
        let events = kube_watch::start(&self.client, &self.shutdown);
        tokio::spawn(store.run(events, settings.clone()));
    }

    fn start_authority(
        &self,
        metrics: &CaMetrics,
        settings: &watch::Receiver<Option<Arc<Settings>>>,
    ) -> (CaHandle, Arc<Serving>) {
        let bootstrap = &self.bootstrap;
        let handle = CaHandle::default();
        let lifecycle = Lifecycle {
            store: KubeSecrets::new(self.client.clone(), &bootstrap.namespace),
            folder: PLUGGED.into(),
            organization: ironsail_mesh::identity::DEFAULT_TRUST_DOMAIN.to_owned(),
            root_lifetime: root::LIFETIME,
            handle: handle.clone(),
            metrics: metrics.clone(),
        };
        // The organization of a new root is the trust domain: the mesh configuration comes first.
        let mut settings = settings.clone();
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let trust_domain = first(&mut settings).await.map(|settings| {
                let domain: &str = settings.mesh.trust_domain();
                domain.to_owned()
            });
            let lifecycle = Lifecycle {
                organization: trust_domain.unwrap_or(lifecycle.organization),
                ..lifecycle
            };
            lifecycle.run(shutdown).await;
        });
        let serving = Arc::<Serving>::default();
        let names = dns_names(
            &bootstrap.namespace,
            bootstrap.revision.as_str(),
            &bootstrap.custom_hosts,
        );
        tokio::spawn(Arc::clone(&serving).run(handle.clone(), names, self.shutdown.clone()));
        let ready = self.readiness.condition("certificate authority");
        let mut states = handle.subscribe();
        tokio::spawn(async move {
            loop {
                ready.set(matches!(*states.borrow_and_update(), CaState::Ready(_)));
                if states.changed().await.is_err() {
                    return;
                }
            }
        });
        (handle, serving)
    }

    async fn serve_grpc(
        &self,
        discovery: Discovery,
        certificates: Arc<CaService>,
        serving: &Arc<Serving>,
    ) -> anyhow::Result<()> {
        if let Some(address) = self.bootstrap.grpc {
            let plaintext = GrpcServer::<CaService> {
                discovery: discovery.clone(),
                certificates: None,
                tls: None,
            };
            tokio::spawn(plaintext.serve(bind(address).await?, self.shutdown.clone()));
        }
        let secure = GrpcServer {
            discovery,
            certificates: Some(certificates),
            tls: Some(serving.grpc_config()?),
        };
        let listener = bind(self.bootstrap.secure_grpc).await?;
        tokio::spawn(secure.serve(listener, self.shutdown.clone()));
        Ok(())
    }

    async fn serve_webhooks(
        &self,
        settings: &watch::Receiver<Option<Arc<Settings>>>,
        ca: &CaHandle,
        serving: &Arc<Serving>,
    ) -> anyhow::Result<()> {
        let (sender, receiver) = watch::channel(Arc::<Settings>::default());
        let mut settings = settings.clone();
        tokio::spawn(async move {
            while let Some(newer) = first(&mut settings).await {
                sender.send_replace(newer);
                if settings.changed().await.is_err() {
                    return;
                }
            }
        });
        let webhooks = Webhooks {
            settings: receiver,
            revision: self.bootstrap.revision.clone(),
            native_sidecars: self.native_sidecars(),
            metrics: crate::webhook::Metrics::register(&self.registry)?,
        };
        let limits = Limits {
            max_body: MAX_WEBHOOK_BODY,
            ..Limits::default()
        };
        let server = Server::new(webhooks.router(self.readiness.clone()))
            .with_limits(limits)
            .with_tls(serving.https_config()?);
        let listener = bind(self.bootstrap.https).await?;
        tokio::spawn(server.serve(listener, self.shutdown.clone()));
        let configurations = Configurations {
            client: self.client.clone(),
            namespace: self.bootstrap.namespace.clone(),
            revision: self.bootstrap.revision.clone(),
            ca_bundle: roots(ca),
            readiness: self.readiness.clone(),
        };
        tokio::spawn(configurations.run(self.shutdown.clone()));
        Ok(())
    }

    /// As configured, or by the oldest kubelet of the cluster: 1.33 and later have them for good.
    fn native_sidecars(&self) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(self.bootstrap.native_sidecars.unwrap_or(false));
        if self.bootstrap.native_sidecars.is_some() {
            return receiver;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let shutdown = self.shutdown.clone();
        // Held until the answer is known: pods must not be injected in two ways.
        let known = self.readiness.condition("kubelet versions");
        tokio::spawn(async move {
            while !shutdown.is_triggered() {
                match nodes.list(&ListParams::default()).await {
                    Ok(list) => {
                        let all = list.items.iter().all(has_native_sidecars);
                        sender.send_replace(all && !list.items.is_empty());
                        known.set(true);
                        tokio::time::sleep(Duration::from_secs(300)).await;
                    }
                    Err(error) => {
                        warn!(error = %chain(&error), "Nodes cannot be listed");
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                }
            }
        });
        receiver
    }

    async fn serve_http(&self, source: debug::Source) -> anyhow::Result<()> {
        let router = debug::router(source).readiness("/ready", self.readiness.clone());
        let listener = bind(self.bootstrap.http).await?;
        tokio::spawn(Server::new(router).serve(listener, self.shutdown.clone()));
        Ok(())
    }

    /// Metrics, and debugging where the peer has it: the operator asks here who is connected.
    async fn serve_monitoring(&self, source: debug::Source) -> anyhow::Result<()> {
        let registry = self.registry.clone();
        let router = debug::router(source)
            .get("/metrics", move |_| {
                let registry = registry.clone();
                async move {
                    let mut body = Vec::new();
                    // Encoding into memory fails only for malformed families, which registration refuses.
                    let _ = TextEncoder::new().encode(&registry.gather(), &mut body);
                    body.extend_from_slice(process::metrics("").as_bytes());
                    typed(http::StatusCode::OK, prometheus::TEXT_FORMAT, body)
                }
            })
            .get("/version", |_| async {
                json(http::StatusCode::OK, version::build_info().to_string())
            });
        let listener = bind(self.bootstrap.monitoring).await?;
        tokio::spawn(Server::new(router).serve(listener, self.shutdown.clone()));
        Ok(())
    }

    fn distribute_root(&self, ca: &CaHandle) {
        let election = Election::new(
            self.client.clone(),
            &self.bootstrap.namespace,
            ROOT_CERT_LEASE,
            &self.bootstrap.pod,
            Timing::default(),
        );
        let (client, roots, shutdown) = (self.client.clone(), roots(ca), self.shutdown.clone());
        tokio::spawn(async move {
            election
                .run(shutdown, |term| {
                    root_cert::distribute(client.clone(), roots.clone(), term)
                })
                .await;
        });
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on"))
}

/// The first settings that were read.
async fn first(settings: &mut watch::Receiver<Option<Arc<Settings>>>) -> Option<Arc<Settings>> {
    let found = settings.wait_for(Option::is_some).await.ok()?;
    found.clone()
}

/// Roots of the authority in use, in PEM; empty while there is none.
fn roots(ca: &CaHandle) -> watch::Receiver<Vec<u8>> {
    let mut states = ca.subscribe();
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        loop {
            if let CaState::Ready(authority) = &*states.borrow_and_update() {
                let roots = authority.roots_pem().as_bytes().to_vec();
                sender.send_if_modified(|current| {
                    let is_new = *current != roots;
                    *current = roots;
                    is_new
                });
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn follow_trust_domains(
    mut settings: watch::Receiver<Option<Arc<Settings>>>,
    domains: Arc<ArcSwap<TrustDomains>>,
) {
    while let Some(settings_now) = first(&mut settings).await {
        let mesh = &settings_now.mesh;
        let all = std::iter::once(mesh.trust_domain().to_owned())
            .chain(mesh.trust_domain_aliases.iter().cloned());
        domains.store(Arc::new(TrustDomains(all.collect())));
        if settings.changed().await.is_err() {
            return;
        }
    }
}

fn has_native_sidecars(node: &Node) -> bool {
    const SINCE: (u32, u32) = (1, 33);
    let version = node
        .status
        .as_ref()
        .and_then(|status| status.node_info.as_ref())
        .map_or("", |info| info.kubelet_version.as_str());
    let mut parts = version.trim_start_matches('v').split('.');
    let mut number = || -> u32 {
        let part = parts.next().unwrap_or_default();
        let digits = part.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    (number(), number()) >= SINCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeStatus, NodeSystemInfo};

    #[test]
    fn kubelets_since_1_33_have_native_sidecars() {
        let node = |version: &str| Node {
            status: Some(NodeStatus {
                node_info: Some(NodeSystemInfo {
                    kubelet_version: version.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        for (version, expected) in [
            ("v1.34.4", true),
            ("v1.33.0-gke.1", true),
            ("v1.32.9", false),
            ("v2.0.0", true),
            ("", false),
        ] {
            assert_eq!(has_native_sidecars(&node(version)), expected, "{version}");
        }
    }
}
