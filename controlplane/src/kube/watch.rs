//! Watches: objects of the cluster as changes of the model.
//!
//! Each object is decoded by itself, so that one that cannot be read never stops a watch; its last readable version stays
//! in use. After a gap the list is compared with what was known, and what is gone is reported as deleted.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use ironsail_runtime::log::chain;
use ironsail_runtime::shared::shared_text;
use ironsail_runtime::signal::Shutdown;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::{Client, Resource, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::model::object::{Change, Object, ObjectKind};

/// Events that wait for the model; the watches wait when it is full. Objects are large before they are converted.
const QUEUE: usize = 64;

/// Objects of a list that are in memory at a time: as Kubernetes has them they are many times as large as the model's.
const PAGE: u32 = 100;

/// Secrets that are never key material of gateways, and would only take memory.
const SECRET_TYPES: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

/// What a watch reports.
#[derive(Debug)]
pub enum Event {
    Change(Change),
    /// The first list of a kind is complete, or the cluster does not know the kind.
    Synced(ObjectKind),
}

/// Kinds that must be listed before anything is served; the mesh configuration has its own watch.
pub const KINDS: [ObjectKind; 9] = [
    ObjectKind::Service,
    ObjectKind::EndpointSlice,
    ObjectKind::Pod,
    ObjectKind::Node,
    ObjectKind::VirtualService,
    ObjectKind::DestinationRule,
    ObjectKind::Gateway,
    ObjectKind::PeerAuthentication,
    ObjectKind::Secret,
];

/// Starts all watches; they end with `shutdown`.
pub fn start(client: &Client, shutdown: &Shutdown) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(QUEUE);
    let watches = Watches {
        client,
        events,
        shutdown,
    };
    watches.spawn(ObjectKind::Service, Object::Service, "");
    watches.spawn(ObjectKind::EndpointSlice, Object::EndpointSlice, "");
    watches.spawn(ObjectKind::Pod, Object::Pod, "");
    watches.spawn(ObjectKind::Node, Object::Node, "");
    watches.spawn(ObjectKind::VirtualService, Object::VirtualService, "");
    watches.spawn(ObjectKind::DestinationRule, Object::DestinationRule, "");
    watches.spawn(ObjectKind::Gateway, Object::Gateway, "");
    watches.spawn(
        ObjectKind::PeerAuthentication,
        Object::PeerAuthentication,
        "",
    );
    watches.spawn(ObjectKind::Secret, Object::Secret, SECRET_TYPES);
    receiver
}

struct Watches<'a> {
    client: &'a Client,
    events: mpsc::Sender<Event>,
    shutdown: &'a Shutdown,
}

impl Watches<'_> {
    fn spawn<K>(&self, kind: ObjectKind, wrap: fn(Box<K>) -> Object, fields: &'static str)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let watch = Watch {
            kind,
            wrap,
            known: BTreeMap::new(),
            lists: 0,
            events: self.events.clone(),
        };
        let api = Api::all(self.client.clone());
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            shutdown.guard(watch.run(api, fields)).await;
        });
    }
}

/// Namespace and name.
type Key = (Arc<str>, Box<str>);

struct Watch<K> {
    kind: ObjectKind,
    wrap: fn(Box<K>) -> Object,
    /// What is there, each with the number of the last list that had begun when it was seen.
    known: BTreeMap<Key, u64>,
    /// Lists that began.
    lists: u64,
    events: mpsc::Sender<Event>,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn run(mut self, api: Api<DeserializeGuard<K>>, fields: &str) {
        let mut config = watcher::Config::default().page_size(PAGE);
        if !fields.is_empty() {
            config = config.fields(fields);
        }
        let mut stream = watcher::watcher(api, config).default_backoff().boxed();
        loop {
            let sent = match stream.try_next().await {
                Ok(Some(event)) => self.handle(event).await,
                Ok(None) => return,
                Err(error) => self.failed(&error).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn handle(&mut self, event: watcher::Event<DeserializeGuard<K>>) -> Sent {
        match event {
            watcher::Event::Init => {
                self.lists += 1;
                Ok(())
            }
            watcher::Event::InitApply(object) => {
                // One that cannot be read is there all the same.
                if let Some(seen) = self.known.get_mut(&key(&object)) {
                    *seen = self.lists;
                }
                self.upsert(object).await
            }
            watcher::Event::InitDone => {
                let old = self.known.iter().filter(|(_, seen)| **seen < self.lists);
                let gone: Vec<Key> = old.map(|(key, _)| key.clone()).collect();
                for key in gone {
                    self.delete(key).await?;
                }
                self.events
                    .send(Event::Synced(self.kind))
                    .await
                    .map_err(drop)
            }
            watcher::Event::Apply(object) => self.upsert(object).await,
            watcher::Event::Delete(object) => self.delete(key(&object)).await,
        }
    }

    async fn upsert(&mut self, guarded: DeserializeGuard<K>) -> Sent {
        let key = key(&guarded);
        match guarded.0 {
            Ok(mut object) => {
                object.managed_fields_mut().clear();
                self.known.insert(key, self.lists);
                let object = (self.wrap)(Box::new(object));
                self.send(Change::Upsert(object)).await
            }
            Err(invalid) => {
                let (namespace, name) = key;
                warn!(kind = %self.kind, %namespace, %name, error = %invalid.error, "Object cannot be read");
                Ok(())
            }
        }
    }

    async fn delete(&mut self, key: Key) -> Sent {
        self.known.remove(&key);
        let (namespace, name) = (key.0.to_string(), key.1.into_string());
        self.send(Change::Delete {
            kind: self.kind,
            namespace,
            name,
        })
        .await
    }

    /// A kind that the cluster does not know is complete: it has no objects. It may come later.
    async fn failed(&mut self, error: &watcher::Error) -> Sent {
        if is_unknown_kind(error) {
            debug!(kind = %self.kind, "Kind is not known to the cluster");
            return self
                .events
                .send(Event::Synced(self.kind))
                .await
                .map_err(drop);
        }
        warn!(kind = %self.kind, error = %chain(error), "Watch interrupted");
        Ok(())
    }

    async fn send(&self, change: Change) -> Sent {
        self.events.send(Event::Change(change)).await.map_err(drop)
    }
}

/// Fails when nobody listens any more.
type Sent = Result<(), ()>;

fn key<K: Resource>(object: &K) -> Key {
    let metadata = object.meta();
    (
        shared_text(metadata.namespace.as_deref().unwrap_or_default()),
        metadata.name.as_deref().unwrap_or_default().into(),
    )
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404
    )
}
