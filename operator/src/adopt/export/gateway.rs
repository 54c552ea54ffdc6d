//! Gateways of an install.

use serde_json::{Map, Value, json};

use super::settings;
use super::{Install, containers, is_kind, label_of, name, namespace, rendered, same};
use crate::render::Context;
use crate::value::{get, set, text};

/// Lists of the spec, and the gateway that the profile has in them.
const LISTS: [(&str, &str, &str); 2] = [
    ("ingressGateways", "istio-ingressgateway", "ingress"),
    ("egressGateways", "istio-egressgateway", "egress"),
];

/// Whether a Deployment is a gateway that an installer made; istiod makes others itself.
fn is_gateway(object: &Value) -> bool {
    let component = label_of(object, ironsail_mesh::label::COMPONENT);
    let by_component = matches!(component, Some("IngressGateways" | "EgressGateways"));
    let chart = label_of(object, "helm.sh/chart").unwrap_or_default();
    let by_chart = ["gateway-", "istio-ingress-", "istio-egress-"]
        .iter()
        .any(|prefix| chart.starts_with(prefix));
    let by_class = label_of(object, "gateway.networking.k8s.io/gateway-name").is_some();
    is_kind(object, "Deployment") && (by_component || by_chart) && !by_class
}

fn is_egress(object: &Value) -> bool {
    label_of(object, ironsail_mesh::label::COMPONENT) == Some("EgressGateways")
        || label_of(object, "istio").is_some_and(|istio| istio.starts_with("egress"))
}

/// Whether a gateway is of the install's revision, or of none.
fn is_own(install: &Install<'_>, object: &Value) -> bool {
    let revision = label_of(object, ironsail_mesh::label::REVISION);
    let wanted = match install.revision {
        "" => "default",
        revision => revision,
    };
    revision.is_none_or(|revision| revision == wanted)
}

/// Lists the gateways, with the settings that differ from the built-in ones.
pub fn list(install: &Install<'_>, object: &mut Value, context: &Context, notes: &mut Vec<String>) {
    let objects = install.installed.objects.iter();
    let gateways: Vec<&Value> = objects
        .filter(|object| is_gateway(object) && is_own(install, object))
        .collect();
    for (field, usual, istio) in LISTS {
        let own: Vec<&Value> = gateways
            .iter()
            .filter(|gateway| is_egress(gateway) == (istio == "egress"))
            .copied()
            .collect();
        let entries: Vec<Value> = own
            .iter()
            .map(|gateway| entry(install, gateway, usual, istio))
            .collect();
        let is_usual = matches!(entries.as_slice(), [only] if *only == json!({"name": usual}));
        let by_profile = match istio {
            "egress" => own.is_empty(),
            _ => is_usual,
        };
        if by_profile {
            continue;
        }
        set(object, &["spec", "components", field], entries.into());
        for (index, gateway) in own.iter().enumerate() {
            tune(install, object, (field, index), gateway, context, notes);
        }
    }
    tune_usual(install, object, &gateways, context, notes);
}

/// An entry with what makes a gateway that gateway.
fn entry(install: &Install<'_>, gateway: &Value, usual: &str, istio: &str) -> Value {
    let mut entry = json!({"name": name(gateway)});
    if namespace(gateway) != install.namespace {
        set(&mut entry, &["namespace"], json!(namespace(gateway)));
    }
    let built_in = json!({"app": usual, "istio": format!("{istio}gateway")});
    let labels = get(gateway, &["spec", "selector", "matchLabels"]);
    if let Some(labels) = labels.filter(|labels| !same(Some(labels), Some(&built_in))) {
        set(&mut entry, &["label"], labels.clone());
    }
    entry
}

/// The gateway of the profile gets an entry only if it has settings of its own.
fn tune_usual(
    install: &Install<'_>,
    object: &mut Value,
    gateways: &[&Value],
    context: &Context,
    notes: &mut Vec<String>,
) {
    let (field, usual, _) = LISTS[0];
    if get(object, &["spec", "components", field]).is_some() {
        return;
    }
    let found = gateways.iter().find(|gateway| name(gateway) == usual);
    let Some(gateway) = found else { return };
    let mut tuned = object.clone();
    set(
        &mut tuned,
        &["spec", "components", field],
        json!([{"name": usual}]),
    );
    tune(install, &mut tuned, (field, 0), gateway, context, notes);
    if get(&tuned, &["spec", "components", field]) != Some(&json!([{"name": usual}])) {
        *object = tuned;
    }
}

/// Adds the settings of one entry.
fn tune(
    install: &Install<'_>,
    object: &mut Value,
    (field, index): (&str, usize),
    gateway: &Value,
    context: &Context,
    notes: &mut Vec<String>,
) {
    let own_name = name(gateway);
    let ours = |kind: &str| rendered(object, context, kind, own_name);
    let Some(workload) = ours("Deployment") else {
        notes.push(format!(
            "Deployment {own_name} was not compared: the object does not render it"
        ));
        return;
    };
    let mut k8s = settings::of_workload(gateway, &workload, "istio-proxy");
    let scaler = ours("HorizontalPodAutoscaler");
    let fixed = settings::scale(install, gateway, scaler.as_ref(), &mut k8s);
    if fixed == Some(false) && scaler.is_some() {
        notes.push(format!(
            "{own_name} has no autoscaler; another plan gives it one, unless the values of all \
             gateways of its kind have autoscaleEnabled false"
        ));
    }
    let service = install.find("Service", namespace(gateway), own_name);
    match (service, ours("Service")) {
        (Some(live), Some(ours)) => settings::of_service(live, &ours, &mut k8s, notes),
        (None, Some(_)) => notes.push(format!("{own_name} has no Service of its name")),
        _ => {}
    }
    let env = settings::unknown_env(gateway, &workload, "istio-proxy");
    let is_injected = containers(gateway).any(|c| text(c, &["image"]) == Some("auto"));
    if is_injected {
        notes.push(format!(
            "pods of {own_name} are completed by injection; another plan renders them whole"
        ));
    } else if !env.is_empty() {
        let env = env.join(", ");
        notes.push(format!(
            "environment of {own_name} that is not carried over: {env}"
        ));
    }
    if !k8s.is_empty() {
        add(object, field, index, k8s);
    }
}

fn add(object: &mut Value, field: &str, index: usize, k8s: Map<String, Value>) {
    let pointer = format!("/spec/components/{field}/{index}");
    if let Some(entry) = object.pointer_mut(&pointer) {
        set(entry, &["k8s"], k8s.into());
    }
}
