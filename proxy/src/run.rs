//! The proxy as a whole: what is started, in which order, and how it ends.
//!
//! The main thread runs agent, discovery, admin and probes on one current-thread runtime; traffic has threads of its own.

mod agent_only;
mod clusters;
mod drain;
mod neighbours;
mod readiness;
mod source;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ironsail_mesh::node::NodeType;
use ironsail_runtime::admin::{Router, Server};
use ironsail_runtime::log::LogHandle;
use ironsail_runtime::net::Resolver;
use ironsail_runtime::process;
use ironsail_runtime::readiness::Readiness;
use ironsail_runtime::signal::{Shutdown, Signals};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::admin::{self, AdminSource};
use crate::agent::csr::KeyType;
use crate::agent::{self, Agent};
use crate::bootstrap::{Bootstrap, Environment};
use crate::listener::{DrainMode, DrainScope};
use crate::snapshot::{Store, StoreOptions};
use crate::stats::{self, Registry};
use crate::status::{self, Probes, ScrapeTarget};
use crate::worker::{LocalNode, PoolOptions, WorkerPool};
use crate::xds::{self, ClientConfig, ClientStatus, Roots, Transport};
use crate::xds::{Protocol, Sink};
use drain::Drain;
use source::ProxySource;

/// Runs the proxy until it is told to end.
///
/// # Errors
/// A port is taken, or the configuration cannot work.
pub async fn run(
    bootstrap: Bootstrap,
    environment: &Environment,
    log: LogHandle,
) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let shutdown = Shutdown::new();
    let resolver = Resolver::from_system()?;
    let agent = agent::start(agent_config(&bootstrap), resolver.clone(), shutdown.clone());
    let control_plane = neighbours::control_plane(&bootstrap, &agent, resolver.clone());
    neighbours::start(&bootstrap, &agent, control_plane, &shutdown)?;
    if bootstrap.neighbours.is_agent_only {
        agent_only::serve(&bootstrap, environment, &agent, &shutdown).await?;
        let signal = signals.next().await;
        info!(?signal, "Ending");
        shutdown.trigger();
        return Ok(());
    }
    let proxy = Proxy::start(&bootstrap, &agent, resolver.clone(), log, shutdown.clone())?;
    proxy.serve(&bootstrap, environment, &agent).await?;
    proxy.discover(&bootstrap, &agent, resolver);

    let quit = proxy.source.quit_requested();
    tokio::select! {
        signal = signals.next() => {
            info!(?signal, "Draining");
            tokio::select! {
                () = proxy.drain(&bootstrap) => {}
                _ = signals.next() => info!("Second signal, ending at once"),
            }
        }
        () = quit => info!("Asked to end"),
    }
    shutdown.trigger();
    crate::access_log::flush_all();
    Ok(())
}

fn agent_config(bootstrap: &Bootstrap) -> agent::Config {
    agent::Config {
        address: bootstrap.certificate_authority.clone(),
        server_name: bootstrap.discovery_name.clone(),
        identity: bootstrap.identity.clone(),
        key_type: KeyType::default(),
        cluster_id: bootstrap.cluster_id.clone(),
        settings: bootstrap.certificate,
        token: agent::TOKEN.into(),
        roots: agent::ROOTS.into(),
        socket: bootstrap.neighbours.identity_socket.clone(),
        node: bootstrap.xds_node(),
    }
}

/// What the status port answers; `source` is absent where there is only an agent.
fn status_config(
    bootstrap: &Bootstrap,
    environment: &Environment,
    agent: &Agent,
    readiness: Readiness,
    source: Option<Arc<dyn AdminSource>>,
) -> anyhow::Result<status::Config> {
    let agent = agent.clone();
    let probers = environment.get("ISTIO_KUBE_APP_PROBERS");
    let annotations = environment.get("ISTIO_PROMETHEUS_ANNOTATIONS");
    Ok(status::Config {
        readiness,
        source,
        pod_ip: bootstrap.node.ip,
        probes: Probes::parse(probers.unwrap_or_default())?,
        scrape: match annotations {
            Some(annotations) => ScrapeTarget::parse(annotations)?,
            None => None,
        },
        agent_metrics: Arc::new(move || {
            let credential = agent.credential.borrow().clone();
            let now = std::time::SystemTime::now();
            let mut text = agent.stats.prometheus(credential.as_deref(), now);
            text.push_str(&process::metrics("istio_agent_"));
            text
        }),
    })
}

struct Proxy {
    store: Store,
    source: Arc<ProxySource>,
    readiness: Readiness,
    shutdown: Shutdown,
    scope: DrainScope,
}

impl Proxy {
    fn start(
        bootstrap: &Bootstrap,
        agent: &Agent,
        resolver: Resolver,
        log: LogHandle,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let drain_time = bootstrap
            .proxy_config
            .drain_duration
            .as_deref()
            .and_then(|text| ironsail_mesh::duration::parse(text).ok())
            .unwrap_or(Duration::from_secs(45));
        let store = Store::new(StoreOptions {
            workers: bootstrap.concurrency,
            drain_time,
            switches: bootstrap.switches,
        });
        if bootstrap.switches.lenient_http1 {
            info!("Heads of HTTP/1 messages are read leniently");
        }
        let metadata = serde_json::from_value(bootstrap.metadata.clone().into())?;
        let workload = stats::local_workload(&metadata);
        let registry = Registry::new(
            workload.clone(),
            ironsail_mesh::VERSION,
            stats::DEFAULT_BOUNDS,
        );
        let watched = store.clone();
        registry.compute(move || clusters::breaker_gauges(&watched.snapshot()));
        let shards = Arc::clone(&registry);
        let pool = WorkerPool::start(
            &PoolOptions {
                concurrency: bootstrap.concurrency,
                node: Arc::new(LocalNode {
                    id: bootstrap.node.to_string(),
                    peer: workload,
                }),
                drain_time,
                stats: Arc::new(move |_| shards.shard()),
            },
            &store,
        )?;
        let readiness = Readiness::new();
        let source = Arc::new(ProxySource::new(
            source::Parts {
                store: store.clone(),
                pool,
                registry,
                agent: agent.clone(),
                log,
                healthy: readiness.condition("health"),
            },
            bootstrap,
        ));
        let timekeeper = store.clone();
        let certificates = agent.certificate.clone();
        tokio::spawn(async move { timekeeper.run(certificates, resolver).await });
        Ok(Self {
            store,
            source,
            readiness,
            shutdown,
            scope: match bootstrap.node.node_type {
                NodeType::Router => DrainScope::All,
                _ => DrainScope::Inbound,
            },
        })
    }

    /// Opens the ports that are not configured over xDS.
    async fn serve(
        &self,
        bootstrap: &Bootstrap,
        environment: &Environment,
        agent: &Agent,
    ) -> anyhow::Result<()> {
        let source: Arc<dyn AdminSource> = self.source.clone();
        let ports = bootstrap.ports;
        let readiness = self.readiness.clone();
        let config = Some(Arc::clone(&source));
        let config = status_config(bootstrap, environment, agent, readiness, config)?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let readiness = status::readiness_router(self.readiness.clone());
        let servers: [(IpAddr, u16, Router); 4] = [
            (loopback, ports.admin, admin::router(Arc::clone(&source))),
            (any, ports.status, status::router(config)),
            (any, ports.readiness, readiness),
            (any, ports.prometheus, status::prometheus_router(source)),
        ];
        serve_all(servers, &self.shutdown).await
    }

    /// Starts the stream to the control plane, and readiness that follows from it.
    fn discover(&self, bootstrap: &Bootstrap, agent: &Agent, resolver: Resolver) {
        let config = ClientConfig {
            address: bootstrap.discovery.to_string(),
            transport: Transport::Tls {
                roots: Roots::File(agent::ROOTS.into()),
                server_name: Some(bootstrap.discovery_name.clone()),
            },
            protocol: match bootstrap.delta {
                true => Protocol::Delta,
                false => Protocol::StateOfTheWorld,
            },
            node: bootstrap.xds_node(),
            cluster_id: bootstrap.cluster_id.clone(),
            headers: Vec::new(),
            credentials: Arc::new(neighbours::AgentCredentials(agent.clone())),
            resolver,
            wanted_changed: Arc::<Notify>::default(),
        };
        let (status, receiver) = watch::channel(ClientStatus::default());
        let sink = self.store.clone();
        let shutdown = self.shutdown.clone();
        let agent = agent.clone();
        let source = Arc::clone(&self.source);
        let following = readiness::Following {
            certificate: self.readiness.condition("certificate"),
            configuration: self.readiness.condition("configuration"),
            store: self.store.clone(),
            applied_version: Box::new(move || source.applied_version()),
        };
        tokio::spawn(following.run(agent.credential.clone(), receiver));
        tokio::spawn(async move {
            // Without a certificate the listeners could not serve: it comes first.
            let mut credential = agent.credential.clone();
            if credential.wait_for(Option::is_some).await.is_err() {
                return;
            }
            if let Err(error) = xds::run(config, sink, status, shutdown).await {
                tracing::error!(%error, "Discovery cannot work");
            }
        });
    }

    async fn drain(&self, bootstrap: &Bootstrap) {
        let drain = Drain {
            time: bootstrap.drain,
            until_idle: bootstrap.exit_on_zero_connections,
            minimum: bootstrap.minimum_drain,
        };
        self.source.drain_scope(self.scope, DrainMode::Graceful);
        drain.wait(self.source.pool()).await;
    }
}

/// Serves each router on its address and port until `shutdown`.
async fn serve_all(
    servers: impl IntoIterator<Item = (IpAddr, u16, Router)>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    for (ip, port, router) in servers {
        let listener = bind(ip, port).await?;
        tokio::spawn(Server::new(router).serve(listener, shutdown.clone()));
    }
    Ok(())
}

async fn bind(ip: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    let bound = TcpListener::bind(SocketAddr::new(ip, port)).await;
    let bound = match bound {
        // A kernel without IPv6.
        Err(error) if ip.is_ipv6() => {
            warn!(%error, %port, "IPv6 is not available, IPv4 is listened on");
            TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await
        }
        bound => bound,
    };
    bound.with_context(|| format!("port {port} cannot be listened on"))
}

/// What the store is to the client.
const _: fn(&Store) = |store| {
    fn is_sink(_: &impl Sink) {}
    is_sink(store);
};
