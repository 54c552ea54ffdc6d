//! `operator server`: everything that the process does besides reconciling.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ironsail_kube::client::{ClientError, connect};
use ironsail_kube::election::{Election, Timing};
use ironsail_runtime::admin::{Limits, Router, Server, text, typed};
use ironsail_runtime::log::chain;
use ironsail_runtime::readiness::{Condition, Readiness};
use ironsail_runtime::signal::{Shutdown, Signals};
use ironsail_runtime::{process, tls};
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use crate::controller;
use crate::events::Events;
use crate::keep::{Account, Keeper};
use crate::metrics::Metrics;
use crate::reconcile::{Config, Reconciler};
use crate::webhook;

/// How the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub reconcile: Config,
    /// Reconciliations at a time; one object is never reconciled twice at a time.
    pub concurrency: u16,
    /// Address of metrics and probes.
    pub listen: String,
    /// Name of the pod; without one, events and the Lease name the process only.
    pub pod: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Account of the pod; without one the own rights are not secured for a removal.
    pub service_account: Option<String>,
    /// Namespace of the Lease; default is the pod's.
    pub lease_namespace: Option<String>,
    /// A leader that could not renew for this long stops leading; the Lease holds twice as long.
    pub renew_deadline: Duration,
    /// Address of the admission webhook; without one it is not served.
    pub webhook: Option<String>,
    /// Name of the webhook's configuration.
    pub webhook_configuration: String,
}

impl Settings {
    fn account(&self) -> Option<Account> {
        Some(Account {
            namespace: self.namespace.clone()?,
            name: self.service_account.clone()?,
        })
    }
}

/// Bound of an admission review: an API server takes objects of 3 MB, and a change carries two.
const MAX_REVIEW_BYTES: usize = 8 << 20;
/// Bound of the last work before the end; the pod is killed after 60 s.
const FAREWELL: Duration = Duration::from_secs(40);

/// Why the process can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("signals can't be handled")]
    Signals(#[source] std::io::Error),
    #[error("{address} can't be listened on")]
    Listen {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

/// Runs until a signal asks to end.
///
/// # Errors
/// There is no cluster, or the port is taken.
pub async fn run(settings: Settings) -> Result<(), ServerError> {
    tls::install_provider();
    let mut signals = Signals::install().map_err(ServerError::Signals)?;
    let shutdown = Shutdown::new();
    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let connected = readiness.condition("connected to the API server");
    serve(&settings, &metrics, readiness.clone(), shutdown.clone()).await?;
    let client = connect().await?;
    serve_webhook(&settings, &client, &readiness, &shutdown).await?;
    let events = Events::new(client.clone(), settings.pod.clone());
    let reconcile = settings.reconcile.clone();
    let keeper = Keeper::new(client.clone(), settings.account());
    let reconciler = Reconciler::new(client.clone(), reconcile, keeper, metrics, events);
    let reconciler = Arc::new(reconciler);
    tokio::spawn({
        let (client, shutdown) = (client.clone(), shutdown.clone());
        async move { shutdown.guard(wait_for_server(client, connected)).await }
    });
    let election = election(&settings, client.clone());
    let work = election.run(shutdown.clone(), |term| {
        lead(Arc::clone(&reconciler), settings.concurrency, term)
    });
    tokio::pin!(work);
    tokio::select! {
        signal = signals.next() => {
            info!(%signal, "Ending");
            shutdown.trigger();
            work.await;
            farewell(&reconciler).await;
        }
        () = &mut work => {}
    }
    Ok(())
}

/// Serves metrics and probes.
async fn serve(
    settings: &Settings,
    metrics: &Metrics,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<(), ServerError> {
    let metrics = metrics.clone();
    let router = Router::new()
        .get("/metrics", move |_| {
            let body = format!("{}{}", metrics.text(), process::metrics(""));
            async move { typed(StatusCode::OK, "text/plain; version=0.0.4", body) }
        })
        .get("/healthz", |_| async { text(StatusCode::OK, "ok") })
        .readiness("/readyz", readiness);
    let listener = listen(&settings.listen).await?;
    tokio::spawn(Server::new(router).serve(listener, shutdown));
    Ok(())
}

async fn listen(address: &str) -> Result<TcpListener, ServerError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServerError::Listen {
        address: address.to_owned(),
        source,
    })
}

/// Serves the admission webhook, leading or not, where the operator runs in a pod.
async fn serve_webhook(
    settings: &Settings,
    client: &kube::Client,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Result<(), ServerError> {
    let (Some(address), Some(namespace)) = (&settings.webhook, &settings.namespace) else {
        return Ok(());
    };
    let serving = Arc::new(webhook::Serving::default());
    let context = settings.reconcile.render.clone();
    let server = Server::new(webhook::router(context, client.clone()))
        .with_limits(Limits {
            max_body: MAX_REVIEW_BYTES,
            ..Limits::default()
        })
        .with_tls(serving.config().map_err(ServerError::Tls)?);
    let listener = listen(address).await?;
    tokio::spawn(server.serve(listener, shutdown.clone()));
    let upkeep = webhook::Upkeep {
        client: client.clone(),
        namespace: namespace.clone(),
        configuration: settings.webhook_configuration.clone(),
        serving,
    };
    let certified = readiness.condition("admission webhook has a certificate");
    tokio::spawn(upkeep.run(certified, shutdown.clone()));
    Ok(())
}

/// A replica is ready when it can reach the API server, leading or not.
async fn wait_for_server(client: kube::Client, connected: Condition) {
    loop {
        match client.apiserver_version().await {
            Ok(version) => {
                info!(version = %version.git_version, "Connected to the API server");
                connected.set(true);
                return;
            }
            Err(error) => warn!(error = %chain(&error), "API server can't be reached"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn election(settings: &Settings, client: kube::Client) -> Election {
    let timing = Timing {
        lease: settings.renew_deadline.saturating_mul(2),
        renew_deadline: settings.renew_deadline,
        ..Timing::default()
    };
    let namespace = settings
        .lease_namespace
        .as_ref()
        .or(settings.namespace.as_ref());
    let namespace = namespace.map_or(crate::bundle::NAME, String::as_str);
    let name = match settings.reconcile.revision.as_str() {
        "" => "istio-operator-lock".to_owned(),
        revision => format!("istio-operator-lock-{revision}"),
    };
    let process = || format!("process-{}", std::process::id());
    let identity = settings.pod.clone().unwrap_or_else(process);
    Election::new(client, namespace, &name, &identity, timing)
}

/// Reconciles while leading.
async fn lead(reconciler: Arc<Reconciler>, concurrency: u16, term: Shutdown) {
    // A process that ended in between may have left it.
    if let Err(error) = reconciler.loosen().await {
        warn!(error = %chain(&error), "The operator's account may keep its finalizer for nothing");
    }
    let synced = Readiness::new().condition("caches are filled");
    controller::run(Arc::clone(&reconciler), concurrency, synced, term).await;
    reconciler.metrics().hide_all();
}

/// Lets everything go when the operator is being removed. Every replica does it: whoever led may
/// be gone, and doing it twice does no harm.
async fn farewell(reconciler: &Reconciler) {
    let outcome = tokio::time::timeout(FAREWELL, reconciler.let_go_if_removed()).await;
    match outcome {
        Ok(Ok(true)) => info!("The operator is removed; nothing waits for it"),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => error!(error = %chain(&error), "Finalizers could not be dropped"),
        Err(_) => error!("Finalizers could not be dropped in time"),
    }
}
