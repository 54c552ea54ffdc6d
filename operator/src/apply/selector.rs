//! Selectors of workloads, which an API server lets nobody change: pure.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::object::Manifest;
use crate::value::{get, set};

/// Workloads that may be deleted and made anew, as `Kind/name` separated by commas.
pub const RECREATE: &str = "operator.ironsail.dev/recreate";

/// A change that needs a new object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reselection {
    from: String,
    to: String,
}

impl fmt::Display for Reselection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", self.from, self.to)
    }
}

/// How [`RECREATE`] names a workload.
pub fn consent(object: &Manifest) -> String {
    format!("{}/{}", object.kind().kind, object.name())
}

/// What a desired workload asks for that its live one can't become.
pub fn forbidden(desired: &Manifest, live: &Value) -> Option<Reselection> {
    if desired.kind().group != "apps" {
        return None;
    }
    let body = desired.body();
    let live = get(live, &["spec", "selector"])?;
    let wanted = get(&body, &["spec", "selector"])?;
    let possible = same(wanted, live) || additions(&body, live).is_some();
    (!possible).then(|| Reselection {
        from: text(live),
        to: text(wanted),
    })
}

/// Keeps the selector of a live workload; its pods get what it asks for beside their new labels.
pub fn keep(body: &mut Value, live: &Value) {
    let Some(live) = get(live, &["spec", "selector"]) else {
        return;
    };
    if get(body, &["spec", "selector"]).is_none_or(|wanted| same(wanted, live)) {
        return;
    }
    let Some(additions) = additions(body, live) else {
        return;
    };
    set(body, &["spec", "selector"], live.clone());
    for (key, value) in additions {
        let path = ["spec", "template", "metadata", "labels", &key];
        set(body, &path, value.into());
    }
}

/// Labels that pods need to match a selector; `None` if they say otherwise.
fn additions(body: &Value, selector: &Value) -> Option<BTreeMap<String, String>> {
    if !expressions(selector).is_empty() {
        return None;
    }
    let mut missing = BTreeMap::new();
    for (key, value) in labels(selector) {
        match get(body, &["spec", "template", "metadata", "labels", key]) {
            None => {
                missing.insert(key.clone(), value.as_str()?.to_owned());
            }
            Some(own) if own == value => {}
            Some(_) => return None,
        }
    }
    Some(missing)
}

fn same(one: &Value, other: &Value) -> bool {
    let parts = |selector| {
        let labels: BTreeMap<&String, &Value> = labels(selector).collect();
        (labels, expressions(selector))
    };
    parts(one) == parts(other)
}

fn labels(selector: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    labels.into_iter().flat_map(Map::iter)
}

fn expressions(selector: &Value) -> &[Value] {
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    expressions.map_or(&[], Vec::as_slice)
}

/// `app=a, istio=b`.
fn text(selector: &Value) -> String {
    let mut texts: Vec<String> = labels(selector)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    texts.sort();
    texts.extend(expressions(selector).iter().map(|e| json!(e).to_string()));
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::Component;

    fn workload(selector: Value, labels: Value) -> Manifest {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "in", "namespace": "n"},
            "spec": {"selector": selector, "template": {"metadata": {"labels": labels}}}});
        Manifest::new(Component::IngressGateways, body).expect("a Deployment")
    }

    fn labelled(labels: Value) -> Value {
        json!({"spec": {"selector": {"matchLabels": labels}}})
    }

    #[track_caller]
    fn check(name: &str, live: &Value, labels: Value, expected: Result<Value, &str>) {
        let desired = workload(json!({"matchLabels": labels}), labels);
        let found = forbidden(&desired, live).map(|change| change.to_string());
        assert_eq!(found.as_deref(), expected.as_ref().err().copied(), "{name}");
        let mut body = desired.body().into_owned();
        keep(&mut body, live);
        if let Ok(pods) = expected {
            assert_eq!(body["spec"]["selector"], live["spec"]["selector"], "{name}");
            assert_eq!(
                body["spec"]["template"]["metadata"]["labels"], pods,
                "{name}"
            );
        }
    }

    #[test]
    fn selectors() {
        let live = labelled(json!({"app": "in", "istio": "a"}));
        let same = json!({"istio": "a", "app": "in"});
        check("the same", &live, same.clone(), Ok(same));
        let more = json!({"app": "in", "istio": "a", "team": "x"});
        check("one more", &live, more.clone(), Ok(more));
        check(
            "one less",
            &live,
            json!({"app": "in"}),
            Ok(json!({"app": "in", "istio": "a"})),
        );
        check(
            "others",
            &live,
            json!({"team": "x"}),
            Ok(json!({"team": "x", "app": "in", "istio": "a"})),
        );
        check(
            "another value",
            &live,
            json!({"app": "in", "istio": "b"}),
            Err("from app=in, istio=a to app=in, istio=b"),
        );
        let expression = json!({"key": "app", "operator": "Exists"});
        let by_expression = json!({"spec": {"selector": {"matchExpressions": [expression]}}});
        let found = forbidden(
            &workload(json!({"matchLabels": {"a": "b"}}), json!({"a": "b"})),
            &by_expression,
        );
        assert!(found.is_some());
        let empty = json!({"matchLabels": {"a": "b"}, "matchExpressions": []});
        let equal = workload(empty, json!({"a": "b"}));
        assert_eq!(forbidden(&equal, &labelled(json!({"a": "b"}))), None);
    }
}
