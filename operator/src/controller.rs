//! Wakes the reconciliation of an IstioOperator when it, or anything it owns, changes.
//!
//! IstioOperators are watched without a schema, so that no stored object can stop the watch. Of
//! owned objects only metadata is watched, of workloads also what tells their health.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use ironsail_mesh::label;
use ironsail_runtime::log::chain;
use ironsail_runtime::readiness::Condition;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::ApiResource;
use kube_runtime::controller::{self, Action, Config as ApplierConfig, applier};
use kube_runtime::predicates;
use kube_runtime::reflector::{ObjectRef, Store, store::Writer};
use kube_runtime::utils::{Predicate as _, WatchStreamExt as _};
use kube_runtime::watcher::{self, watcher};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::apply::fingerprint::Fingerprint;
use crate::events::operator_resource;
use crate::namespace::State;
use crate::object::{KINDS, Kind, ObjectKey};
use crate::observe::{Seen, key, owner_of, selector};
use crate::plan::Owner;
use crate::reconcile::Reconciler;
use crate::share::{SHARED_WITH, sharers};

/// Changes of an object that follow each other closely are one wake-up.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Pause before the cluster is asked again which kinds it has.
const RETRY: Duration = Duration::from_secs(2);

type Metadata = PartialObjectMeta<DynamicObject>;
type Wake = UnboundedSender<ObjectRef<DynamicObject>>;

/// Caches of everything that carries owner labels.
struct Owned {
    metadata: Vec<(&'static Kind, Store<Metadata>)>,
    deployments: Store<Deployment>,
    daemon_sets: Store<DaemonSet>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
}

impl Owned {
    async fn wait_until_ready(&self) {
        for (_, store) in &self.metadata {
            // A writer that is gone means that this task ends too.
            let _ = store.wait_until_ready().await;
        }
        let _ = self.deployments.wait_until_ready().await;
        let _ = self.daemon_sets.wait_until_ready().await;
        let _ = self.namespaces.wait_until_ready().await;
    }

    /// What is there now.
    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for (kind, store) in &self.metadata {
            for object in store.state() {
                seen.add(kind, &object.metadata, kept_fingerprint(&object.metadata));
            }
        }
        for object in self.deployments.state() {
            let key = add_workload(&mut seen, &object.metadata, Deployment::KIND);
            seen.deployments.insert(key, (*object).clone());
        }
        for object in self.daemon_sets.state() {
            let key = add_workload(&mut seen, &object.metadata, DaemonSet::KIND);
            seen.daemon_sets.insert(key, (*object).clone());
        }
        for object in self.namespaces.state() {
            let name = object.metadata.name.clone().unwrap_or_default();
            seen.namespaces.insert(name, State::of(&object.metadata));
        }
        seen
    }
}

fn add_workload(seen: &mut Seen, metadata: &ObjectMeta, kind: &str) -> ObjectKey {
    let kind = Kind::find("apps", kind).expect("workloads are rendered");
    seen.add(kind, metadata, kept_fingerprint(metadata));
    key(kind, metadata)
}

/// Where a cached object keeps its fingerprint; never in the cluster.
const FINGERPRINT: &str = "fingerprint";

/// Replaces what only the fingerprint is made of: it is most of a cached object.
fn keep_fingerprint(metadata: &mut ObjectMeta) {
    let fingerprint = Fingerprint::of(metadata).to_string();
    metadata.managed_fields = None;
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    annotations.retain(|key, _| key == SHARED_WITH);
    annotations.insert(FINGERPRINT.to_owned(), fingerprint);
    metadata.annotations = Some(annotations);
}

fn kept_fingerprint(metadata: &ObjectMeta) -> Fingerprint {
    let kept = metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(FINGERPRINT));
    kept.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| Fingerprint::of(metadata))
}

/// Reconciles until `term` is triggered. `synced` holds once all caches are filled.
///
/// `concurrency` is the number of reconciliations at a time; one object is never reconciled twice
/// at a time.
pub async fn run(reconciler: Arc<Reconciler>, concurrency: u16, synced: Condition, term: Shutdown) {
    let resource = operator_resource();
    let (wake, woken) = unbounded();
    let mut watches = JoinSet::new();
    let Some(kinds) = term.guard(served(reconciler.client())).await else {
        return;
    };
    let owned = watch_owned(reconciler.client(), &kinds, &wake, &mut watches);
    let writer = Writer::new(resource.clone());
    let store = writer.as_reader();
    let primary = primary(&reconciler, &resource, writer);
    watches.spawn(forward(primary, wake));
    let filled = async {
        let _ = store.wait_until_ready().await;
        owned.wait_until_ready().await;
    };
    if term.guard(filled).await.is_none() {
        return;
    }
    synced.set(true);
    let context = Arc::new(Context { reconciler, owned });
    let config = ApplierConfig::default()
        .debounce(DEBOUNCE)
        .concurrency(concurrency);
    applier(
        |object, context| Box::pin(reconcile(object, context)),
        |_, error: &std::convert::Infallible, _| match *error {},
        context,
        store,
        woken.map(Ok::<_, std::convert::Infallible>),
        config,
    )
    .take_until(term.triggered())
    .for_each(|outcome| async {
        match outcome {
            Ok((object, action)) => debug!(%object, ?action, "Reconciled"),
            // Owned objects may outlive their owner for a moment.
            Err(controller::Error::ObjectNotFound(object)) => debug!(%object, "Object is gone"),
            Err(error) => warn!(error = %chain(&error), "Reconciliation was not run"),
        }
    })
    .await;
    synced.set(false);
}

struct Context {
    reconciler: Arc<Reconciler>,
    owned: Owned,
}

async fn reconcile(
    object: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let seen = context.owned.seen();
    let next = context.reconciler.reconcile(&object, &seen).await;
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// IstioOperators whose spec, annotations or finalizers changed, or that are being deleted; not
/// those whose status the operator itself wrote.
fn primary(
    reconciler: &Arc<Reconciler>,
    resource: &ApiResource,
    writer: Writer<DynamicObject>,
) -> impl Stream<Item = ObjectRef<DynamicObject>> + use<> {
    let client = reconciler.client().clone();
    // One namespace is watched alone; several are picked from the watch of all.
    let api: Api<DynamicObject> = match reconciler.namespaces() {
        [one] => Api::namespaced_with(client, one, resource),
        _ => Api::all_with(client, resource),
    };
    let metrics = reconciler.metrics().clone();
    let resource = resource.clone();
    let changed = predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::finalizers)
        .combine(|object: &DynamicObject| {
            Some(u64::from(object.metadata.deletion_timestamp.is_some()))
        });
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.metadata.managed_fields = None)
        .reflect(writer)
        .touched_objects()
        .predicate_filter(changed, Default::default())
        .inspect_err(move |error| {
            metrics.get_cr_errors.inc();
            warn!(error = %chain(error), "Watch of IstioOperators is interrupted");
        })
        .filter_map(move |object| {
            let reference = object
                .ok()
                .map(|o| ObjectRef::from_obj_with(&o, resource.clone()));
            async { reference }
        })
}

/// Kinds that the cluster has. Others would never fill their cache; what is rendered of them is
/// still applied, and refused by the API server.
async fn served(client: &Client) -> Vec<&'static Kind> {
    let mut kinds = Vec::new();
    for kind in &KINDS {
        if !kind.optional || is_served(client, kind).await {
            kinds.push(kind);
        }
    }
    kinds
}

async fn is_served(client: &Client, kind: &Kind) -> bool {
    loop {
        match client.list_api_group_resources(&kind.api_version()).await {
            Ok(list) => return list.resources.iter().any(|r| r.name == kind.plural),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return false,
            Err(error) => {
                warn!(kind = kind.kind, error = %chain(&error), "Kinds of the cluster can't be listed")
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Starts the watches of everything that carries owner labels.
fn watch_owned(
    client: &Client,
    kinds: &[&'static Kind],
    wake: &Wake,
    watches: &mut JoinSet<()>,
) -> Owned {
    let config = watcher::Config::default().labels(&selector());
    let mut metadata = Vec::new();
    let workloads = [Deployment::KIND, DaemonSet::KIND];
    for kind in kinds.iter().filter(|kind| !workloads.contains(&kind.kind)) {
        let resource = kind.resource();
        let writer = Writer::new(resource.clone());
        metadata.push((*kind, writer.as_reader()));
        let api: Api<Metadata> = Api::all_with(client.clone(), &resource);
        let stream = watcher(api, config.clone())
            .default_backoff()
            .modify(|object| keep_fingerprint(&mut object.metadata))
            .reflect(writer);
        let owners = stream
            .touched_objects()
            .map_ok(|object| owner_references(&object.metadata));
        watches.spawn(forward(told(owners, kind.kind), wake.clone()));
    }
    Owned {
        metadata,
        // Templates are large, and nothing reads them here.
        deployments: watch_workloads(client, wake, watches, |deployment: &mut Deployment| {
            if let Some(spec) = &mut deployment.spec {
                spec.template = Default::default();
            }
        }),
        daemon_sets: watch_workloads(client, wake, watches, |set: &mut DaemonSet| {
            if let Some(spec) = &mut set.spec {
                spec.template = Default::default();
            }
        }),
        namespaces: watch_namespaces(client, watches),
    }
}

/// Starts the watch of namespaces. It wakes nobody: what lies in them is watched itself.
fn watch_namespaces(
    client: &Client,
    watches: &mut JoinSet<()>,
) -> Store<PartialObjectMeta<Namespace>> {
    let writer = Writer::new(());
    let store = writer.as_reader();
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|namespace| {
            let metadata = &mut namespace.metadata;
            metadata.managed_fields = None;
            metadata.annotations = None;
            if let Some(labels) = &mut metadata.labels {
                labels.retain(|key, _| key == label::NETWORK);
            }
        })
        .reflect(writer)
        .for_each(|event| async {
            if let Err(error) = event {
                warn!(error = %chain(&error), "Watch of namespaces is interrupted");
            }
        });
    watches.spawn(stream);
    store
}

/// Starts the watch of one kind of workload; `shrink` drops what needs no memory.
fn watch_workloads<K>(
    client: &Client,
    wake: &Wake,
    watches: &mut JoinSet<()>,
    shrink: impl Fn(&mut K) + Clone + Send + 'static,
) -> Store<K>
where
    K: kube::Resource<DynamicType = ()> + k8s_openapi::Resource,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().labels(&selector());
    let writer = Writer::new(());
    let store = writer.as_reader();
    let stream = watcher(Api::<K>::all(client.clone()), config)
        .default_backoff()
        .modify(move |object| {
            keep_fingerprint(object.meta_mut());
            shrink(object);
        })
        .reflect(writer);
    let owners = stream
        .touched_objects()
        .map_ok(|object| owner_references(object.meta()));
    watches.spawn(forward(told(owners, K::KIND), wake.clone()));
    store
}

/// All that want an object: who holds it and who shares it.
fn owner_references(metadata: &ObjectMeta) -> Vec<ObjectRef<DynamicObject>> {
    let reference = |owner: Owner| {
        ObjectRef::new_with(&owner.name, operator_resource()).within(&owner.namespace)
    };
    let owners = owner_of(metadata).into_iter().chain(sharers(metadata));
    owners.map(reference).collect()
}

/// Owners to wake; errors are logged, the watch goes on by itself.
fn told<S>(owners: S, kind: &'static str) -> impl Stream<Item = ObjectRef<DynamicObject>> + use<S>
where
    S: Stream<Item = Result<Vec<ObjectRef<DynamicObject>>, watcher::Error>>,
{
    owners.flat_map(move |owners| {
        let owners = owners.unwrap_or_else(|error| {
            warn!(kind, error = %chain(&error), "Watch of owned objects is interrupted");
            Vec::new()
        });
        futures::stream::iter(owners)
    })
}

async fn forward(owners: impl Stream<Item = ObjectRef<DynamicObject>>, wake: Wake) {
    let _: Result<(), _> = owners.map(Ok).forward(wake).await;
}
