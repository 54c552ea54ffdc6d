//! Two eras of laying a spec over its profile: lists that replace, and lists that merge by name.
//!
//! Up to 1.23 the peer's operator merged gateways, their ports and volumes, and some lists of the
//! mesh configuration by name; since then a list replaces the profile's. An object that the old
//! operator kept means what it meant then, so its era is kept on it.

use std::collections::BTreeMap;

use ironsail_crds::Diagnostic;
use serde_json::{Value, json};

use crate::value::get;

/// Annotation of an IstioOperator that names its era; absent means [`ListMerge::Replace`].
pub const ANNOTATION: &str = "operator.ironsail.dev/list-merge";

/// How the lists of a spec are laid over those of its profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListMerge {
    /// A list replaces another one.
    #[default]
    Replace,
    /// As up to 1.23: items with the same name merge, and `enabled` is inherited.
    ByName,
}

/// What tells the items of a list apart.
#[derive(Clone, Copy)]
enum Items {
    Key(&'static str),
    /// The item itself.
    Whole,
}

/// Lists that merge by name, by their path in the values; `*` stands for any one key.
const VALUES: [(&[&str], Items); 9] = [
    (&["gateways", "*", "ports"], Items::Key("name")),
    (&["gateways", "*", "secretVolumes"], Items::Key("name")),
    (&["meshConfig", "extensionProviders"], Items::Key("name")),
    (&["meshConfig", "configSources"], Items::Key("address")),
    (&["meshConfig", "certificates"], Items::Key("secretName")),
    (&["meshConfig", "trustDomainAliases"], Items::Whole),
    (&["meshConfig", "defaultServiceExportTo"], Items::Whole),
    (
        &["meshConfig", "defaultVirtualServiceExportTo"],
        Items::Whole,
    ),
    (
        &["meshConfig", "defaultDestinationRuleExportTo"],
        Items::Whole,
    ),
];
const GATEWAYS: [&str; 2] = ["ingressGateways", "egressGateways"];
/// Components that are off unless something says otherwise.
const OFF: [&str; 2] = ["cni", "ztunnel"];

impl ListMerge {
    /// As the annotation says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "Replace",
            Self::ByName => "ByName",
        }
    }

    /// What the annotations of an object say, if they say it.
    ///
    /// # Errors
    /// The annotation has another value.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, Diagnostic> {
        let Some(text) = annotations.get(ANNOTATION) else {
            return Ok(None);
        };
        let known = [Self::Replace, Self::ByName];
        let found = known.into_iter().find(|era| era.as_str() == text);
        found.map(Some).ok_or_else(|| {
            let message = format!("{text:?} must be one of Replace, ByName");
            Diagnostic::error(format!("metadata.annotations[{ANNOTATION}]"), message)
        })
    }

    /// What the annotations of an object as a document say, if they say it.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_object(object: &Value) -> Result<Option<Self>, Diagnostic> {
        let text = crate::value::text(object, &["metadata", "annotations", ANNOTATION]);
        let annotations = text.map(|text| (ANNOTATION.to_owned(), text.to_owned()));
        Self::of(&annotations.into_iter().collect())
    }

    /// What a plan is made for: the spec, and its era where that is not the usual one.
    pub fn asked(self, spec: &Value) -> Value {
        match self {
            Self::Replace => spec.clone(),
            Self::ByName => json!({"spec": spec, "listMerge": self.as_str()}),
        }
    }

    /// Lays a spec over that of its profile.
    pub fn merge_spec(self, profile: &mut Value, spec: &Value) {
        match self {
            Self::Replace => crate::value::merge(profile, spec),
            Self::ByName => {
                lay(profile, spec, &mut Vec::new(), &in_spec);
                inherit_enabled(profile, spec);
            }
        }
    }

    /// Lays values over others.
    pub fn merge_values(self, base: &mut Value, values: &Value) {
        match self {
            Self::Replace => crate::value::merge(base, values),
            Self::ByName => lay(base, values, &mut Vec::new(), &in_values),
        }
    }

    /// The ports of a gateway's Service, from those it would have and those that its entry gives.
    pub fn ports(self, base: &[Value], own: &[Value]) -> Vec<Value> {
        match self {
            Self::Replace => own.to_vec(),
            Self::ByName => merge_list(base, own, |a, b| {
                let protocol = |port: &Value| port.get("protocol").cloned().unwrap_or("TCP".into());
                a.get("port").is_some()
                    && a.get("port") == b.get("port")
                    && protocol(a) == protocol(b)
            }),
        }
    }
}

fn in_values(path: &[String]) -> Option<Items> {
    let matches = |pattern: &[&str]| {
        let same = |(key, own): (&&str, &String)| *key == "*" || key == own;
        pattern.len() == path.len() && pattern.iter().zip(path).all(same)
    };
    let found = VALUES.iter().find(|(pattern, _)| matches(pattern));
    found.map(|(_, items)| *items)
}

fn in_spec(path: &[String]) -> Option<Items> {
    match path {
        [components, list] if components == "components" => GATEWAYS
            .contains(&list.as_str())
            .then_some(Items::Key("name")),
        [first, ..] if first == "meshConfig" => in_values(path),
        [first, rest @ ..] if first == "values" || first == "unvalidatedValues" => in_values(rest),
        _ => None,
    }
}

/// Merges objects key by key, and lists as `keyed` says it for their path.
fn lay(
    base: &mut Value,
    over: &Value,
    path: &mut Vec<String>,
    keyed: &dyn Fn(&[String]) -> Option<Items>,
) {
    match (&mut *base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                path.push(key.clone());
                match base.get_mut(key) {
                    Some(old) => lay(old, value, path, keyed),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(old), Value::Array(new)) if keyed(path).is_some() => {
            let items = keyed(path);
            *old = merge_list(old, new, |a, b| match items {
                Some(Items::Key(key)) => a.get(key).is_some() && a.get(key) == b.get(key),
                Some(Items::Whole) | None => a == b,
            });
        }
        (base, over) => *base = over.clone(),
    }
}

/// Items that are the same merge, in the order of the base; others follow.
fn merge_list(base: &[Value], over: &[Value], same: impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    let mut merged = base.to_vec();
    for item in over {
        match merged.iter_mut().find(|old| same(old, item)) {
            Some(old) => crate::value::merge(old, item),
            None => merged.push(item.clone()),
        }
    }
    merged
}

/// What the spec lists without `enabled`, and the profile doesn't turn on, is off.
fn inherit_enabled(merged: &mut Value, spec: &Value) {
    let listed = |kind: &str| get(spec, &["components", kind]).is_some();
    let Some(components) = merged.get_mut("components").and_then(Value::as_object_mut) else {
        return;
    };
    let turn_off = |component: &mut Value| {
        if let Some(fields) = component.as_object_mut()
            && fields.get("enabled").is_none_or(Value::is_null)
        {
            fields.insert("enabled".to_owned(), json!(false));
        }
    };
    for name in OFF.iter().filter(|name| listed(name)) {
        components.get_mut(*name).into_iter().for_each(turn_off);
    }
    for name in GATEWAYS {
        let entries = components.get_mut(name).and_then(Value::as_array_mut);
        entries.into_iter().flatten().for_each(turn_off);
    }
}

#[cfg(test)]
mod tests;
