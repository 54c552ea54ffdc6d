//! Who uses a revision: labels of namespaces, pods, tags and connected proxies.
//!
//! Nothing is watched or kept for this. Metadata is listed page by page when an answer is needed,
//! and only counts and a few names remain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ironsail_kube::pages::Pages;
use ironsail_mesh::label;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::named_by;
use super::proxies::{Probe, ProbeError};
use crate::count::counted;
use crate::observe::{annotation_of, label_of, owner_of};
use crate::plan::{Owner, Plan};
use crate::value::get;

/// Names that are told of each kind of use.
const NAMED: usize = 3;
/// Pods that are over use nothing.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Whether a revision is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    Used(Uses),
    Unused,
    /// Nothing was found, but not everybody could be asked.
    Unknown(String),
}

/// Kinds of use, each a noun, with what is used so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses(BTreeMap<&'static str, Use>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Use {
    count: usize,
    first: BTreeSet<String>,
}

impl Uses {
    fn add(&mut self, kind: &'static str, name: String) {
        let found = self.0.entry(kind).or_default();
        found.count += 1;
        // The first ones in order, so that the text changes as little as possible.
        found.first.insert(name);
        if found.first.len() > NAMED {
            found.first.pop_last();
        }
    }
}

impl fmt::Display for Uses {
    /// `2 namespaces (a, b), 7 pods (a/x, a/y, a/z, …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.0.iter().map(|(kind, found)| {
            let names: Vec<&str> = found.first.iter().map(String::as_str).collect();
            let more = if found.count > names.len() {
                ", …"
            } else {
                ""
            };
            format!(
                "{} ({}{more})",
                counted(found.count, kind),
                names.join(", ")
            )
        });
        f.write_str(&texts.collect::<Vec<_>>().join(", "))
    }
}

/// Why it can't be said who uses a revision.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("{what} can't be listed: {}", crate::apply::reason(source))]
    List {
        what: &'static str,
        source: Box<kube::Error>,
    },
}

/// A revision, and who has it.
pub struct Question<'a> {
    pub client: &'a Client,
    pub owner: &'a Owner,
    pub plan: &'a Plan,
    pub probe: &'a Probe,
}

/// What pods, namespaces and tags say of a revision.
struct Search<'a> {
    revision: &'a str,
    /// Tag to revision.
    tags: BTreeMap<String, String>,
    /// Namespace and selector of the owner's own workloads, which go away with it.
    own: Vec<(String, BTreeMap<String, String>)>,
    uses: Uses,
    /// `pod.namespace` of those.
    own_pods: BTreeSet<String>,
}

impl Question<'_> {
    /// Asks everybody.
    pub async fn ask(&self) -> Usage {
        let mut search = Search::new(self.plan);
        let mut failed: Vec<String> = Vec::new();
        let steps = [
            self.tags(&mut search).await,
            self.namespaces(&mut search).await,
            self.pods(&mut search).await,
        ];
        failed.extend(
            steps
                .into_iter()
                .filter_map(|step| Some(step.err()?.to_string())),
        );
        if let Err(error) = self.proxies(&mut search).await {
            failed.push(error.to_string());
        }
        match (search.uses.0.is_empty(), failed.is_empty()) {
            (false, _) => Usage::Used(search.uses),
            (true, true) => Usage::Unused,
            (true, false) => Usage::Unknown(failed.join("; ")),
        }
    }

    async fn tags(&self, search: &mut Search<'_>) -> Result<(), UsageError> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let params = ListParams::default().labels(label::TAG);
        pages(&api, params, "tags", |metadata| {
            search.tag(metadata, self.owner)
        })
        .await
    }

    async fn namespaces(&self, search: &mut Search<'_>) -> Result<(), UsageError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let params = ListParams::default();
        pages(&api, params, "namespaces", |metadata| {
            search.namespace(metadata)
        })
        .await
    }

    async fn pods(&self, search: &mut Search<'_>) -> Result<(), UsageError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let params = ListParams::default().fields(UNFINISHED);
        pages(&api, params, "pods", |metadata| search.pod(metadata)).await
    }

    async fn proxies(&self, search: &mut Search<'_>) -> Result<(), ProbeError> {
        for (namespace, selector) in control_planes(self.plan) {
            for proxy in self
                .probe
                .connected(self.client, &namespace, &selector)
                .await?
            {
                if !search.own_pods.contains(&proxy) {
                    search.uses.add("connected proxy", proxy);
                }
            }
        }
        Ok(())
    }
}

/// Goes through the metadata of all objects, page by page.
async fn pages<K>(
    api: &Api<K>,
    params: ListParams,
    what: &'static str,
    mut look: impl FnMut(&ObjectMeta),
) -> Result<(), UsageError>
where
    K: Clone + fmt::Debug + serde::de::DeserializeOwned,
{
    let mut pages = Pages::of(params);
    while let Some(params) = pages.next_request() {
        let page = api.list_metadata(params).await;
        let page = page.map_err(|source| UsageError::List {
            what,
            source: Box::new(source),
        })?;
        pages.answered(&page.metadata);
        page.items.iter().for_each(|object| look(&object.metadata));
    }
    Ok(())
}

/// Namespaces and selectors of workloads that a plan contains, by kind and component.
fn workloads(
    plan: &Plan,
    wanted: impl Fn(&crate::object::Manifest) -> bool,
) -> Vec<(String, BTreeMap<String, String>)> {
    let all = plan
        .objects
        .iter()
        .filter(|object| object.kind().group == "apps");
    all.filter(|object| wanted(object))
        .filter_map(|object| {
            let body = object.body();
            let selector = get(&body, &["spec", "selector", "matchLabels"])?;
            let selector = serde_json::from_value(selector.clone()).ok()?;
            Some((object.namespace().to_owned(), selector))
        })
        .collect()
}

fn control_planes(plan: &Plan) -> Vec<(String, BTreeMap<String, String>)> {
    workloads(plan, |object| {
        object.component == crate::component::Component::Pilot
    })
}

impl<'a> Search<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            revision: &plan.revision,
            tags: BTreeMap::new(),
            own: workloads(plan, |_| true),
            uses: Uses::default(),
            own_pods: BTreeSet::new(),
        }
    }

    /// Whether a label that may name a tag means this revision.
    fn means(&self, name: &str) -> bool {
        self.tags.get(name).map_or(name, String::as_str) == self.revision
    }

    /// Tags that the owner brought itself go away with it.
    fn tag(&mut self, metadata: &ObjectMeta, owner: &Owner) {
        let named = |key| label_of(metadata, key);
        let (Some(tag), Some(revision)) = (named(label::TAG), named(label::REVISION)) else {
            return;
        };
        self.tags.insert(tag.to_owned(), revision.to_owned());
        if revision == self.revision && owner_of(metadata).as_ref() != Some(owner) {
            self.uses.add("tag", tag.to_owned());
        }
    }

    fn namespace(&mut self, metadata: &ObjectMeta) {
        if metadata.deletion_timestamp.is_some() {
            return;
        }
        if named_by(metadata).is_some_and(|name| self.means(name)) {
            let name = metadata.name.clone().unwrap_or_default();
            self.uses.add("namespace", name);
        }
    }

    fn pod(&mut self, metadata: &ObjectMeta) {
        if metadata.deletion_timestamp.is_some() {
            return;
        }
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata.namespace.clone().unwrap_or_default();
        if self.is_own(&namespace, metadata) {
            self.own_pods.insert(format!("{name}.{namespace}"));
        } else if self.is_used_by(metadata) {
            self.uses.add("pod", format!("{namespace}/{name}"));
        }
    }

    fn is_own(&self, namespace: &str, metadata: &ObjectMeta) -> bool {
        let selects = |selector: &BTreeMap<String, String>| {
            selector
                .iter()
                .all(|(key, value)| label_of(metadata, key) == Some(value))
        };
        self.own
            .iter()
            .any(|(own, selector)| own == namespace && selects(selector))
    }

    /// What was injected, or a gateway, says so by annotations; what asks for injection by labels.
    fn is_used_by(&self, metadata: &ObjectMeta) -> bool {
        if let Some(revision) = annotation_of(metadata, label::REVISION) {
            return revision == self.revision;
        }
        let injected = annotation_of(metadata, label::INJECTION_STATUS)
            .and_then(|status| serde_json::from_str::<Value>(status).ok());
        if let Some(revision) = injected.as_ref().and_then(|s| s["revision"].as_str()) {
            return revision == self.revision;
        }
        let refused = [label_of, annotation_of]
            .into_iter()
            .any(|mark| mark(metadata, label::INJECT) == Some("false"));
        !refused && label_of(metadata, label::REVISION).is_some_and(|name| self.means(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Fresh;
    use crate::render::{Context, render};

    fn canary() -> Plan {
        let spec =
            json!({"revision": "canary", "components": {"ingressGateways": [{"name": "in"}]}});
        Fresh::new(render(&spec, &Context::default()).expect("valid"), &spec).plan
    }

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).expect("metadata")
    }

    fn owner(name: &str) -> Owner {
        Owner {
            namespace: "istio-system".into(),
            name: name.into(),
        }
    }

    #[track_caller]
    fn check(name: &str, tags: &[(&str, &str)], see: impl Fn(&mut Search<'_>), expected: &str) {
        let plan = canary();
        let mut search = Search::new(&plan);
        for (tag, revision) in tags {
            search.tags.insert((*tag).into(), (*revision).into());
        }
        see(&mut search);
        assert_eq!(search.uses.to_string(), expected, "{name}");
    }

    #[test]
    fn namespaces() {
        let namespace = |labels: Value| {
            let metadata = metadata(json!({"name": "shop", "labels": labels}));
            move |search: &mut Search<'_>| search.namespace(&metadata)
        };
        let used = "1 namespace (shop)";
        let default = &[("default", "canary")][..];
        check("unlabelled", &[], namespace(json!({})), "");
        check(
            "revision",
            &[],
            namespace(json!({"istio.io/rev": "canary"})),
            used,
        );
        check(
            "another",
            &[],
            namespace(json!({"istio.io/rev": "stable"})),
            "",
        );
        check(
            "tag",
            &[("prod", "canary")],
            namespace(json!({"istio.io/rev": "prod"})),
            used,
        );
        check(
            "old label",
            &[],
            namespace(json!({"istio-injection": "enabled"})),
            "",
        );
        check(
            "of the default",
            default,
            namespace(json!({"istio-injection": "enabled"})),
            used,
        );
        let both = json!({"istio-injection": "enabled", "istio.io/rev": "canary"});
        check("the old label wins", &[], namespace(both), "");
        let refused = json!({"istio-injection": "disabled", "istio.io/rev": "canary"});
        check("refused", default, namespace(refused), "");
    }

    #[test]
    fn pods() {
        let pod = |labels: Value, annotations: Value| {
            let metadata = metadata(json!({"name": "a", "namespace": "shop",
                "labels": labels, "annotations": annotations}));
            move |search: &mut Search<'_>| search.pod(&metadata)
        };
        let (none, used) = (json!({}), "1 pod (shop/a)");
        check("plain", &[], pod(none.clone(), none.clone()), "");
        check(
            "injected",
            &[],
            pod(none.clone(), json!({"istio.io/rev": "canary"})),
            used,
        );
        let status = json!({"sidecar.istio.io/status": "{\"revision\":\"canary\"}"});
        check("by its status", &[], pod(none.clone(), status), used);
        let moved = pod(
            json!({"istio.io/rev": "canary"}),
            json!({"istio.io/rev": "old"}),
        );
        check("injected by another one", &[], moved, "");
        check(
            "asking",
            &[("t", "canary")],
            pod(json!({"istio.io/rev": "t"}), none.clone()),
            used,
        );
        let refusing = json!({"istio.io/rev": "canary", "sidecar.istio.io/inject": "false"});
        check("refusing", &[], pod(refusing, none), "");
    }

    #[test]
    fn what_is_the_owners_own_or_goes_away_uses_nothing() {
        let see = |value: Value| {
            let metadata = metadata(value);
            move |search: &mut Search<'_>| search.pod(&metadata)
        };
        let labels = json!({"app": "istio-ingressgateway", "istio": "ingressgateway"});
        let annotations = json!({"istio.io/rev": "canary"});
        let pod = |namespace: &str| json!({"name": "in-x", "namespace": namespace, "labels": labels, "annotations": annotations});
        check("own gateway", &[], see(pod("istio-system")), "");
        check(
            "somebody's gateway",
            &[],
            see(pod("edge")),
            "1 pod (edge/in-x)",
        );
        let mut ending = pod("edge");
        ending["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        check("ending", &[], see(ending), "");
    }

    #[test]
    fn tags() {
        let tag = |labels: Value| {
            let metadata = metadata(json!({"labels": labels}));
            move |search: &mut Search<'_>| search.tag(&metadata, &owner("canary"))
        };
        let users = json!({"istio.io/tag": "prod", "istio.io/rev": "canary"});
        check("of a user", &[], tag(users), "1 tag (prod)");
        let own = json!({"istio.io/tag": "prod", "istio.io/rev": "canary",
            "operator.istio.io/managed": "Reconcile",
            "install.operator.istio.io/owning-resource": "canary",
            "install.operator.istio.io/owning-resource-namespace": "istio-system"});
        check("own", &[], tag(own), "");
        let other = json!({"istio.io/tag": "prod", "istio.io/rev": "stable"});
        check("of another revision", &[], tag(other), "");
    }

    #[test]
    fn a_text_names_the_first_and_counts_all() {
        let mut uses = Uses::default();
        for name in ["d", "b", "c", "a"] {
            uses.add("namespace", name.to_owned());
        }
        uses.add("pod", "a/x".to_owned());
        assert_eq!(uses.to_string(), "4 namespaces (a, b, c, …), 1 pod (a/x)");
    }
}
