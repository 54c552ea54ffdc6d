//! The two proxies, each with the same resources.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use ironsail_peer::{Envoy, Launch, Program, find};
use ironsail_proxy::resource::Switches;
use ironsail_proxy::snapshot::{Store, StoreOptions};
use ironsail_proxy::stats::{DEFAULT_BOUNDS, Registry};
use ironsail_proxy::worker::{LocalNode, PoolOptions, WorkerPool};
use ironsail_proxy::xds::{Resource, Sink, Update};
use ironsail_runtime::net::Resolver;
use ironsail_xds::bootstrap::bootstrap::StaticResources;
use ironsail_xds::bootstrap::runtime_layer::LayerSpecifier;
use ironsail_xds::bootstrap::{Bootstrap, LayeredRuntime, RuntimeLayer};
use ironsail_xds::type_url;
use prost::{Message, Name};
use tokio::sync::watch;

use crate::config::Resources;

/// Longer than any call.
const DRAIN_TIME: Duration = Duration::from_secs(45);
const START: Duration = Duration::from_secs(10);

/// A proxy that serves a topic.
pub trait Proxy {
    /// Makes it write what its access log holds back.
    fn flush(&self);

    /// Ends it.
    fn stop(self: Box<Self>);
}

/// Envoy as its project releases it.
///
/// # Errors
/// It refuses the resources; the error holds its log.
pub fn envoy(directory: &Path, resources: &Resources) -> anyhow::Result<Box<dyn Proxy>> {
    let mut command = Command::new(find(Program::Envoy)?);
    command.args(["--file-flush-interval-msec", "20"]);
    let launch = Launch {
        command,
        name: "envoy",
        directory,
        log_level: "error",
    };
    let bootstrap = Bootstrap {
        static_resources: Some(StaticResources {
            listeners: resources.listeners.clone(),
            clusters: resources.clusters.clone(),
            ..Default::default()
        }),
        layered_runtime: Some(istios_runtime()),
        ..Default::default()
    };
    let mut envoy = Envoy::start(launch, &bootstrap)?;
    envoy.wait_until_live()?;
    Ok(Box::new(envoy))
}

/// What Istio's bootstrap changes of Envoy's behaviour towards requests: fragments of paths are cut off, not refused.
fn istios_runtime() -> LayeredRuntime {
    use ironsail_xds::protobuf::{Struct, Value, value::Kind};
    let refuses = "envoy.reloadable_features.http_reject_path_with_fragment";
    let value = Value {
        kind: Some(Kind::BoolValue(false)),
    };
    let settings = Struct {
        fields: [(refuses.to_owned(), value)].into(),
    };
    LayeredRuntime {
        layers: vec![RuntimeLayer {
            name: "istio".to_owned(),
            layer_specifier: Some(LayerSpecifier::StaticLayer(settings)),
        }],
    }
}

impl Proxy for Envoy {
    fn flush(&self) {
        // It does so by itself, each 20 ms.
        std::thread::sleep(Duration::from_millis(60));
    }

    fn stop(self: Box<Self>) {}
}

/// Ours, on threads of this process.
struct Ironsail {
    pool: WorkerPool,
    /// Without its agent the store would not go on.
    _certificates:
        watch::Sender<Option<ironsail_proxy::transport_socket::secret::WorkloadCertificate>>,
}

/// Our proxy with one worker.
///
/// # Errors
/// It refuses a resource.
pub async fn ironsail(resources: &Resources, switches: Switches) -> anyhow::Result<Box<dyn Proxy>> {
    let mut store = Store::new(StoreOptions {
        workers: 1,
        drain_time: DRAIN_TIME,
        switches,
    });
    let node = LocalNode::default();
    let registry = Registry::new(node.peer.clone(), "oracle", DEFAULT_BOUNDS);
    let options = PoolOptions {
        concurrency: 1,
        node: Arc::new(node),
        drain_time: DRAIN_TIME,
        stats: Arc::new(move |_| registry.shard()),
    };
    let pool = WorkerPool::start(&options, &store)?;
    let (certificates, received) = watch::channel(None);
    let keeper = store.clone();
    let resolver = Resolver::from_texts("", "")?;
    tokio::spawn(async move { keeper.run(received, resolver).await });
    apply(
        &mut store,
        type_url::CLUSTER,
        &resources.clusters,
        |cluster| &cluster.name,
    )?;
    apply(
        &mut store,
        type_url::LISTENER,
        &resources.listeners,
        |listener| &listener.name,
    )?;
    let begin = Instant::now();
    while !store.warming().initialized || pool.applied_version() < store.snapshot().version {
        if begin.elapsed() > START {
            bail!("our proxy is not ready: {:?}", store.warming());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Box::new(Ironsail {
        pool,
        _certificates: certificates,
    }))
}

fn apply<M: Message + Name>(
    store: &mut Store,
    type_url: &str,
    messages: &[M],
    name: fn(&M) -> &String,
) -> anyhow::Result<()> {
    let resource = |message: &M| Resource {
        name: name(message).clone(),
        version: "1".to_owned(),
        body: message.encode_to_vec().into(),
        type_url: type_url.to_owned(),
    };
    let rejected = store.apply(Update {
        type_url: type_url.to_owned(),
        added: messages.iter().map(resource).collect(),
        removed: Vec::new(),
        full: true,
    });
    match rejected.first() {
        Some(rejected) => bail!("our proxy rejects {}: {}", rejected.name, rejected.error),
        None => Ok(()),
    }
}

impl Proxy for Ironsail {
    fn flush(&self) {
        ironsail_proxy::access_log::flush_all();
    }

    fn stop(self: Box<Self>) {
        self.pool.stop();
    }
}
