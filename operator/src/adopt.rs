//! Taking over what is installed already, as it is.
//!
//! The accepted plan of an adopted install is made from the live objects: of each what its
//! installer decided, nothing of what controllers keep. Applying it writes labels of metadata
//! only, so nothing restarts. Another plan is accepted in the usual ways.

pub mod contact;
pub mod export;
pub mod fields;
pub mod hand_over;
pub mod helm;
pub mod live;
pub mod marks;
pub mod release;
pub mod take;
pub mod writer;

use std::collections::BTreeSet;

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::apply;
use crate::component::Component;
use crate::object::{Manifest, ObjectKey};
use crate::observe::label_of;
use crate::plan::{Adopted, Owner, Plan, content_hash};
use crate::value::get;
use live::{Live, LiveObjects};

/// `true`: what is there is taken over at first contact; `false`: never.
pub const ADOPT: &str = "operator.ironsail.dev/adopt";

/// Name under which an API server is asked what it would make of an object.
const PROBE: &str = "ironsail-dry-run";

/// Longest value of a label.
const MAX_LABEL_BYTES: usize = 63;

/// The plan that is there already, compared with the one that would be installed.
pub struct Adoption<'a> {
    pub client: &'a Client,
    pub owner: &'a Owner,
    pub fresh: &'a Plan,
    pub live: &'a LiveObjects,
}

impl Adoption<'_> {
    /// The live objects as a plan, without asking the cluster about them.
    pub fn as_found(&self) -> Plan {
        let objects = self.live.values().filter_map(|live| self.taken(live));
        self.plan(objects.collect(), Vec::new())
    }

    /// The live objects as a plan whose objects an API server says it would not change.
    pub async fn as_adopted(&self) -> Plan {
        let mut objects = Vec::new();
        let mut left = Vec::new();
        for live in self.live.values() {
            let Some(taken) = self.taken(live) else {
                continue;
            };
            let best = match self.fresh_one(live) {
                Some(fresh) if self.is_same(fresh, &taken, live).await => fresh.clone(),
                _ => taken,
            };
            match self.judge(&best, live).await {
                Effect::None => objects.push(best),
                Effect::Changes => objects.push(metadata_only(best)),
                Effect::Refused => left.push(key(live)),
            }
        }
        self.plan(objects, left)
    }

    fn plan(&self, mut objects: Vec<Manifest>, left: Vec<ObjectKey>) -> Plan {
        objects.sort_by_cached_key(Manifest::order);
        let there: BTreeSet<Component> = objects.iter().map(|object| object.component).collect();
        let components: Vec<Component> = there.into_iter().collect();
        let releases = self.live.values();
        let releases: BTreeSet<String> = releases
            .filter_map(|live| live::release(&live.object.metadata))
            .map(|release| release.to_string())
            .collect();
        Plan {
            hash: content_hash(&components, &objects),
            renderer: self.version(),
            components,
            objects,
            network: String::new(),
            adopted: Some(Adopted {
                releases: releases.into_iter().collect(),
                left,
            }),
            ..self.fresh.clone()
        }
    }

    /// Version of what is there, rather the control plane's: as labels say it, or the tag of an
    /// image.
    fn version(&self) -> String {
        let mut all: Vec<&Live> = self.live.values().collect();
        all.sort_by_key(|live| !is_pilot(live));
        let labelled = |label: &str| {
            let mut all = all.iter();
            all.find_map(|live| live.object.metadata.labels.as_ref()?.get(label).cloned())
        };
        let tag = |live: &&Live| {
            let image = "/spec/template/spec/containers/0/image";
            let image = live.object.data.pointer(image)?.as_str()?;
            let tag = image.rsplit_once(':')?.1;
            (tag.len() <= MAX_LABEL_BYTES).then(|| tag.to_owned())
        };
        let found = labelled(label::OPERATOR_VERSION)
            .or_else(|| labelled(label::APP_KUBERNETES_VERSION))
            .or_else(|| all.iter().find_map(tag));
        found.unwrap_or_else(|| "unknown".to_owned())
    }

    fn fresh_one(&self, live: &Live) -> Option<&Manifest> {
        let key = key(live);
        let mut objects = self.fresh.objects.iter();
        objects.find(|object| *object.key() == key)
    }

    fn taken(&self, live: &Live) -> Option<Manifest> {
        let fresh = self.fresh_one(live);
        let component = fresh.map_or_else(|| component(&live.object.metadata), |o| o.component);
        let body = take::body(&live.object, live.kind, self.is_scaled(live));
        Manifest::new(component, body).ok()
    }

    /// Whether an autoscaler decides the replicas of an object.
    fn is_scaled(&self, live: &Live) -> bool {
        let metadata = &live.object.metadata;
        let scaled = metadata.managed_fields.iter().flatten();
        let mut scaled = scaled.filter_map(|entry| entry.subresource.as_deref());
        if scaled.any(|subresource| subresource == "scale") {
            return true;
        }
        let targets = |kind: &str, namespace: Option<&str>, spec: Option<&Value>| {
            let target = spec.and_then(|spec| get(spec, &["scaleTargetRef", "name"]));
            kind == "HorizontalPodAutoscaler"
                && namespace == metadata.namespace.as_deref()
                && target.and_then(Value::as_str) == metadata.name.as_deref()
        };
        let live = self.live.values().any(|other| {
            let namespace = other.object.metadata.namespace.as_deref();
            targets(other.kind.kind, namespace, other.object.data.get("spec"))
        });
        live || self.fresh.objects.iter().any(|other| {
            let body = other.body();
            targets(other.kind().kind, Some(other.namespace()), body.get("spec"))
        })
    }

    /// Whether installing the fresh object would leave the live one as it is.
    async fn is_same(&self, fresh: &Manifest, taken: &Manifest, live: &Live) -> bool {
        let (wanted, there) = (
            take::comparable(&fresh.body()),
            take::comparable(&taken.body()),
        );
        if wanted == there {
            return true;
        }
        // The difference may be what an API server adds by itself.
        if wanted.get("metadata") != there.get("metadata") {
            return false;
        }
        let made = self.probe(fresh).await;
        made.is_some_and(|made| take::decided(&made) == take::decided(&live.object))
    }

    /// What the API server would make of an object if there were none yet.
    async fn probe(&self, fresh: &Manifest) -> Option<DynamicObject> {
        let mut body = fresh.body().into_owned();
        crate::value::set(&mut body, &["metadata", "name"], json!(PROBE));
        let probe = Manifest::new(fresh.component, body).ok()?;
        apply::dry_run(self.client, &probe, None).await.ok()
    }

    /// What applying an object would do beside labelling it.
    async fn judge(&self, object: &Manifest, live: &Live) -> Effect {
        let plan = self.plan(vec![object.clone()], Vec::new());
        let desired = plan.desired(self.owner, &[]).into_iter().next();
        let desired = desired.as_ref().unwrap_or(object);
        match apply::dry_run(self.client, desired, Some(&live.object)).await {
            Ok(would) if apply::data(&would) == apply::data(&live.object) => Effect::None,
            Err(kube::Error::Api(answer)) if answer.code == 403 => Effect::Refused,
            Ok(_) | Err(_) => Effect::Changes,
        }
    }
}

/// What an API server says to an object of an adopted plan.
enum Effect {
    None,
    /// More than metadata would change.
    Changes,
    /// The operator lacks the right to write it.
    Refused,
}

fn metadata_only(mut object: Manifest) -> Manifest {
    if let Some(body) = object.body_mut().as_object_mut() {
        body.retain(|key, _| ["apiVersion", "kind", "metadata"].contains(&key.as_str()));
    }
    object
}

fn key(live: &Live) -> ObjectKey {
    crate::observe::key(live.kind, &live.object.metadata)
}

fn is_pilot(live: &Live) -> bool {
    let app = label_of(&live.object.metadata, label::APP);
    live.kind.kind == "Deployment" && app == Some("istiod")
}

/// The component that an object's labels name.
fn component(metadata: &ObjectMeta) -> Component {
    let text = |key: &str| label_of(metadata, key).unwrap_or_default();
    let named = Component::ALL
        .into_iter()
        .find(|component| component.as_str() == text(label::COMPONENT));
    named.unwrap_or_else(|| {
        let chart = text("helm.sh/chart");
        let is = |name: &str| chart.starts_with(&format!("{name}-"));
        let is_egress = text("istio").starts_with("egress");
        match text(label::APP) {
            _ if is("istio-egress") || (is("gateway") && is_egress) => Component::EgressGateways,
            _ if is("istio-ingress") || is("gateway") => Component::IngressGateways,
            _ if is("cni") => Component::Cni,
            _ if is("ztunnel") => Component::Ztunnel,
            "istiod" | "sidecar-injector" => Component::Pilot,
            _ if is("istiod") => Component::Pilot,
            _ => Component::Base,
        }
    })
}
