//! What is there of the install that an IstioOperator is about.

use std::collections::{BTreeMap, BTreeSet};

use ironsail_kube::pages::Pages;
use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};

use super::take::{RELEASE_NAME, RELEASE_NAMESPACE};
use crate::apply::api;
use crate::delete;
use crate::object::{KINDS, Kind, ObjectKey};
use crate::observe::{self, annotation_of, is_controlled, label_of};
use crate::plan::{MANAGED, Owner, Plan};

/// An object of the cluster.
#[derive(Clone, Debug)]
pub struct Live {
    pub kind: &'static Kind,
    pub object: DynamicObject,
}

/// Objects by their names.
pub type LiveObjects = BTreeMap<ObjectKey, Live>;

/// A release of Helm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    pub namespace: String,
    pub name: String,
}

impl Release {
    /// Reads what is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for Release {
    /// `namespace/name`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What installed an object, as far as the object says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Helm(Release),
    /// `istioctl`, or an operator.
    Operator {
        owner: String,
        namespace: String,
        revision: String,
    },
}

/// The Helm release that an object says it is of.
pub fn release(metadata: &ObjectMeta) -> Option<Release> {
    Some(Release {
        namespace: annotation_of(metadata, RELEASE_NAMESPACE)?.to_owned(),
        name: annotation_of(metadata, RELEASE_NAME)?.to_owned(),
    })
}

fn sources(metadata: &ObjectMeta) -> Vec<Source> {
    let text = |key: &str| label_of(metadata, key).unwrap_or_default().to_owned();
    let operator = (text(label::MANAGED) == MANAGED).then(|| Source::Operator {
        owner: text(label::OWNING_RESOURCE),
        namespace: text(label::OWNING_RESOURCE_NAMESPACE),
        revision: text(label::REVISION),
    });
    let helm = release(metadata).map(Source::Helm);
    helm.into_iter().chain(operator).collect()
}

/// Looks for the objects of one IstioOperator.
pub struct Search<'a> {
    pub client: &'a Client,
    pub owner: &'a Owner,
    /// What would be installed.
    pub fresh: &'a Plan,
    /// Other IstioOperators, whose objects are theirs.
    pub others: &'a [Owner],
}

impl Search<'_> {
    /// Objects that the fresh plan has too, and those with the owner's labels. What may not be
    /// read can't be written either, and is passed over: applying it names the missing right.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn own(&self) -> Result<LiveObjects, kube::Error> {
        let mut found = LiveObjects::new();
        for object in &self.fresh.objects {
            match self.add(object.kind(), object.key(), &mut found).await {
                Err(kube::Error::Api(answer)) if answer.code == 403 => {}
                outcome => outcome?,
            }
        }
        for remaining in delete::readable(self.client, self.owner).await?.held {
            self.add(remaining.kind, &remaining.key, &mut found).await?;
        }
        Ok(found)
    }

    /// Adds everything else that was installed together with what was found.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn add_siblings(&self, found: &mut LiveObjects) -> Result<(), kube::Error> {
        let seeds = found.values().map(|live| &live.object.metadata);
        let sources: BTreeSet<Source> = seeds
            .filter(|metadata| self.is_of_revision(metadata))
            .flat_map(sources)
            .collect();
        let (helm, operator): (Vec<_>, Vec<_>) = sources
            .iter()
            .partition(|source| matches!(source, Source::Helm(_)));
        let managed = format!("{}={MANAGED}", label::MANAGED);
        for (wanted, selector) in [
            (helm, "app.kubernetes.io/managed-by=Helm"),
            (operator, managed.as_str()),
        ] {
            if wanted.is_empty() {
                continue;
            }
            for kind in KINDS.iter().filter(|kind| kind.prune) {
                for key in self.siblings(kind, selector, &wanted).await? {
                    self.add(kind, &key, found).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether an object is of the plan's revision, or of none.
    fn is_of_revision(&self, metadata: &ObjectMeta) -> bool {
        let revision = label_of(metadata, label::REVISION);
        revision.is_none_or(|revision| revision == self.fresh.revision)
    }

    /// Objects of a kind that have one of the sources, read in pages: a cluster may have many
    /// objects of Helm.
    async fn siblings(
        &self,
        kind: &Kind,
        selector: &str,
        wanted: &[&Source],
    ) -> Result<Vec<ObjectKey>, kube::Error> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
        let mut pages = Pages::of(ListParams::default().labels(selector));
        let mut found = Vec::new();
        while let Some(params) = pages.next_request() {
            let page = match api.list_metadata(params).await {
                Ok(page) => page,
                // The cluster doesn't have the kind.
                Err(kube::Error::Api(answer)) if kind.optional && answer.code == 404 => break,
                Err(error) => return Err(error),
            };
            let own = page.items.iter().map(|object| &object.metadata);
            let own = own.filter(|metadata| has_source(metadata, wanted));
            found.extend(own.map(|metadata| observe::key(kind, metadata)));
            pages.answered(&page.metadata);
        }
        Ok(found)
    }

    async fn add(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        found: &mut LiveObjects,
    ) -> Result<(), kube::Error> {
        if found.contains_key(key) {
            return Ok(());
        }
        let live = api(self.client, kind, &key.namespace)
            .get_opt(&key.name)
            .await?;
        if let Some(object) = live.filter(|live| self.may_have(&live.metadata)) {
            found.insert(key.clone(), Live { kind, object });
        }
        Ok(())
    }

    /// Whether an object is nobody else's.
    fn may_have(&self, metadata: &ObjectMeta) -> bool {
        let theirs = observe::owner_of(metadata);
        metadata.deletion_timestamp.is_none()
            && !is_controlled(metadata)
            && theirs.is_none_or(|owner| !self.others.contains(&owner))
    }
}

fn has_source(metadata: &ObjectMeta, wanted: &[&Source]) -> bool {
    sources(metadata).iter().any(|own| wanted.contains(&own))
}
