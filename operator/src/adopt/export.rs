//! From what is installed to an IstioOperator that asks for it: as small as the settings that
//! differ from what Ironsail renders anyway, with notes on what it can't say.

mod gateway;
mod settings;
mod values;

use std::collections::BTreeSet;

use ironsail_mesh::label;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{ADOPT, live, marks};
use crate::events::operator_resource;
use crate::list_merge::{self, ListMerge};
use crate::object::Manifest;
use crate::reconcile::is_ignored;
use crate::render::{Context, render_object};
use crate::value::{get, is_empty, set, text};

/// What of a cluster tells how a mesh was installed.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    pub operators: Vec<DynamicObject>,
    /// Deployments, Services, autoscalers, DaemonSets and ConfigMaps.
    pub objects: Vec<Value>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    pub object: Value,
    /// What the object can't say, or says otherwise.
    pub notes: Vec<String>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the cluster can't be read: {}", crate::apply::reason(source))]
    Api {
        #[from]
        source: kube::Error,
    },
    #[error("there is no control plane{}", named(.0))]
    Nothing(Option<String>),
    #[error("there are control planes of the revisions {}; choose one", .0.join(", "))]
    Several(Vec<String>),
}

fn named(revision: &Option<String>) -> String {
    let revision = revision.as_ref();
    revision.map_or(String::new(), |revision| {
        format!(" of the revision {revision}")
    })
}

/// Reads what [`export`] looks at.
///
/// # Errors
/// The API server refuses a list or can't be reached.
pub async fn observe(client: &Client) -> Result<Installed, ExportError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &operator_resource());
    let operators = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        // There is no definition.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut objects = Vec::new();
    list::<Deployment>(client, &mut objects).await?;
    list::<DaemonSet>(client, &mut objects).await?;
    list::<Service>(client, &mut objects).await?;
    list::<HorizontalPodAutoscaler>(client, &mut objects).await?;
    let pilots: BTreeSet<String> = objects
        .iter()
        .filter(|object| is_pilot(object))
        .map(|object| namespace(object).to_owned())
        .collect();
    for namespace in pilots {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        push(api.list(&ListParams::default()).await?.items, &mut objects);
    }
    Ok(Installed { operators, objects })
}

async fn list<K>(client: &Client, objects: &mut Vec<Value>) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    push(api.list(&ListParams::default()).await?.items, objects);
    Ok(())
}

/// Items of lists have no kind of their own; writing typed ones adds it.
fn push<K: Serialize>(items: Vec<K>, objects: &mut Vec<Value>) {
    let items = items.iter().map(serde_json::to_value);
    objects.extend(items.filter_map(Result::ok));
}

fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"]).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"]).unwrap_or_default()
}

fn label_of<'a>(object: &'a Value, label: &str) -> Option<&'a str> {
    text(object, &["metadata", "labels", label])
}

fn is_kind(object: &Value, kind: &str) -> bool {
    object.get("kind").and_then(Value::as_str) == Some(kind)
}

fn is_pilot(object: &Value) -> bool {
    is_kind(object, "Deployment") && label_of(object, label::APP) == Some("istiod")
}

/// Revision of a control plane; empty for the default one.
fn revision_of(pilot: &Value) -> &str {
    let revision = name(pilot).strip_prefix("istiod").unwrap_or_default();
    revision.trim_start_matches('-')
}

/// The parts of one install.
struct Install<'a> {
    installed: &'a Installed,
    pilot: &'a Value,
    namespace: &'a str,
    revision: &'a str,
}

impl Install<'_> {
    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        let mut objects = self.installed.objects.iter();
        objects.find(|object| {
            is_kind(object, kind)
                && self::namespace(object) == namespace
                && self::name(object) == name
        })
    }

    /// Name of an object that each revision has.
    fn suffixed(&self, name: &str) -> String {
        match self.revision {
            "" => name.to_owned(),
            revision => format!("{name}-{revision}"),
        }
    }

    fn config(&self, name: &str, key: &str) -> Option<&str> {
        let map = self.find("ConfigMap", self.namespace, &self.suffixed(name))?;
        text(map, &["data", key])
    }
}

/// The IstioOperator of what is installed.
///
/// `revision` chooses among several control planes; the default one is the empty name.
///
/// # Errors
/// There is no control plane, or there are several and none is chosen.
pub fn export(
    installed: &Installed,
    revision: Option<&str>,
    context: &Context,
) -> Result<Exported, ExportError> {
    let pilots = installed.objects.iter().filter(|object| is_pilot(object));
    let pilots: Vec<&Value> = pilots
        .filter(|pilot| revision.is_none_or(|wanted| revision_of(pilot) == wanted))
        .collect();
    let pilot = match pilots.as_slice() {
        [] => return Err(ExportError::Nothing(revision.map(str::to_owned))),
        [pilot] => *pilot,
        several => {
            let shown = several.iter().map(|pilot| match revision_of(pilot) {
                "" => "default".to_owned(),
                revision => revision.to_owned(),
            });
            return Err(ExportError::Several(shown.collect()));
        }
    };
    let install = Install {
        installed,
        pilot,
        namespace: namespace(pilot),
        revision: revision_of(pilot),
    };
    let mut exported = match kept(&install) {
        Some(operator) => of_operator(operator),
        None => of_objects(&install, context),
    };
    let found = render_object(&exported.object, context);
    let findings = match found {
        Ok(rendered) => rendered.warnings,
        Err(findings) => findings,
    };
    exported
        .notes
        .extend(findings.iter().map(ToString::to_string));
    Ok(exported)
}

/// The IstioOperator that the install was made from: one of its revision that somebody kept, or
/// the one that `istioctl` up to 1.23 stored.
fn kept<'a>(install: &Install<'a>) -> Option<&'a DynamicObject> {
    let operators = install.installed.operators.iter();
    let mut own: Vec<&DynamicObject> = operators
        .filter(|operator| {
            let revision = text(&operator.data, &["spec", "revision"]);
            revision.unwrap_or_default() == install.revision
        })
        .collect();
    own.sort_by_key(|operator| is_ignored(operator));
    own.first().copied()
}

fn of_operator(operator: &DynamicObject) -> Exported {
    let mut annotations = Map::new();
    annotations.insert(ADOPT.to_owned(), json!("true"));
    let era = operator.metadata.annotations.as_ref();
    let era = era.and_then(|annotations| annotations.get(list_merge::ANNOTATION));
    let is_stored = is_ignored(operator);
    if let Some(era) = era {
        annotations.insert(list_merge::ANNOTATION.to_owned(), json!(era));
    } else if !is_stored && marks::on_object(operator) {
        let era = ListMerge::ByName.as_str();
        annotations.insert(list_merge::ANNOTATION.to_owned(), json!(era));
    }
    let own_name = operator.metadata.name.clone().unwrap_or_default();
    let note = match is_stored {
        true => format!(
            "made from the IstioOperator {own_name}, which istioctl stored and nobody reconciles; \
             delete it when the adoption is finished"
        ),
        false => format!("this is the IstioOperator {own_name} as it is in the cluster"),
    };
    let name = match own_name.strip_prefix("installed-state") {
        Some("") => "default".to_owned(),
        Some(revision) => revision.trim_start_matches('-').to_owned(),
        None => own_name,
    };
    let spec = operator.data.get("spec").cloned().unwrap_or(json!({}));
    let namespace = operator.metadata.namespace.clone().unwrap_or_default();
    Exported {
        object: document(&name, &namespace, annotations, spec),
        notes: vec![note],
    }
}

fn document(name: &str, namespace: &str, annotations: Map<String, Value>, spec: Value) -> Value {
    json!({
        "apiVersion": operator_resource().api_version,
        "kind": operator_resource().kind,
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": spec,
    })
}

fn of_objects(install: &Install<'_>, context: &Context) -> Exported {
    let mut notes = Vec::new();
    let annotations = Map::from_iter([(ADOPT.to_owned(), json!("true"))]);
    let name = match install.revision {
        "" => "default",
        revision => revision,
    };
    let mut object = document(name, install.namespace, annotations, json!({}));
    let mut spec = values::images(install, &mut notes);
    values::of_install(install, &mut spec);
    components(install, &mut spec);
    set(&mut object, &["spec"], spec);
    gateway::list(install, &mut object, context, &mut notes);
    values::move_unknown(&mut object, context, &mut notes);
    settings::of_pilot(install, &mut object, context, &mut notes);
    values::shrink(&mut object, context);
    values::mesh_config(install, &mut object, context, &mut notes);
    let releases = install.installed.objects.iter().filter_map(|object| {
        let metadata = serde_json::from_value(object.get("metadata")?.clone()).ok()?;
        live::release(&metadata)
    });
    let releases: BTreeSet<String> = releases.map(|release| release.to_string()).collect();
    if !releases.is_empty() {
        let releases = releases.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!("Helm releases in the cluster: {releases}"));
    }
    Exported { object, notes }
}

/// Node agents, and where the control plane is.
fn components(install: &Install<'_>, spec: &mut Value) {
    if !install.revision.is_empty() {
        set(spec, &["revision"], json!(install.revision));
    }
    if install.namespace != ironsail_mesh::mesh_config::DEFAULT_ROOT_NAMESPACE {
        let path = ["values", "global", "istioNamespace"];
        set(spec, &path, json!(install.namespace));
    }
    for (component, daemon_set) in [("cni", "istio-cni-node"), ("ztunnel", "ztunnel")] {
        let objects = install.installed.objects.iter();
        let mut sets = objects.filter(|object| is_kind(object, "DaemonSet"));
        let Some(found) = sets.find(|object| self::name(object) == daemon_set) else {
            continue;
        };
        set(spec, &["components", component, "enabled"], json!(true));
        if namespace(found) != install.namespace {
            let path = ["components", component, "namespace"];
            set(spec, &path, json!(namespace(found)));
        }
        if component == "ztunnel" {
            set(spec, &["profile"], json!("ambient"));
        }
    }
}

/// An object as the document renders it so far.
fn rendered(object: &Value, context: &Context, kind: &str, name: &str) -> Option<Value> {
    let rendered = render_object(object, context).ok()?;
    let wanted = |object: &&Manifest| object.kind().kind == kind && object.name() == name;
    let found = rendered.objects.iter().find(wanted)?;
    Some(found.body().into_owned())
}

/// Whether two values mean the same.
fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    let meaning = |value: Option<&Value>| {
        let sorted = value.map(|value| crate::value::meaning(&crate::value::sorted(value)));
        sorted.filter(|value| !is_empty(value))
    };
    meaning(one) == meaning(other)
}

/// The document as YAML, under its notes.
pub fn yaml(exported: &Exported) -> String {
    let mut text = String::new();
    for note in &exported.notes {
        for line in note.lines() {
            text.push_str(&format!("# {line}\n"));
        }
    }
    text.push_str(&crate::yaml::to_string(&exported.object));
    text
}

/// The containers of a workload.
fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    let path = ["spec", "template", "spec", "containers"];
    let containers = get(workload, &path).and_then(Value::as_array);
    containers.into_iter().flatten()
}

#[cfg(test)]
mod tests;
