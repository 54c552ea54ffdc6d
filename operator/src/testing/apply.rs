//! Server-side apply of the fake server. Lists are one value, but for webhooks, which merge by name.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Answer, Place, State, refuse};

type Path = Vec<String>;

impl State {
    pub(super) fn apply(
        &mut self,
        place: &Place,
        manager: &str,
        body: &Value,
        dry_run: bool,
    ) -> Answer {
        let live = self.objects.get(&place.path).cloned();
        if live.is_none() && place.subresource.is_some() {
            return refuse(StatusCode::NOT_FOUND, "not found");
        }
        let expected = &body["metadata"]["resourceVersion"];
        let version = live
            .as_ref()
            .map(|live| &live["metadata"]["resourceVersion"]);
        if !expected.is_null() && version != Some(expected) {
            return refuse(StatusCode::CONFLICT, "the object has been modified");
        }
        let clock = self.clock;
        let time = self.now();
        let mut object = live.clone().unwrap_or_else(|| fresh(place, body));
        let before = without_bookkeeping(&object);
        let old = owned(&object, manager);
        let new = leaves(body);
        for path in old.iter().filter(|path| !new.contains(path)) {
            remove(&mut object, path);
        }
        lay(&mut object, body);
        defaults(&mut object);
        if live.as_ref().is_some_and(|live| reselects(live, &object)) {
            self.clock = clock;
            let message = "spec.selector: Invalid value: field is immutable";
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
        if object["kind"] == "CustomResourceDefinition" {
            object["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        }
        let changed = before != without_bookkeeping(&object) || old != new || live.is_none();
        if changed {
            take_over(
                &mut object,
                manager,
                place.subresource.as_deref(),
                &new,
                &time,
            );
            let version = self.clock.to_string();
            object["metadata"]["resourceVersion"] = json!(version);
            if live
                .as_ref()
                .is_some_and(|live| content(live) != content(&object))
            {
                let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
                object["metadata"]["generation"] = json!(generation + 1);
            }
        } else {
            self.clock = clock;
        }
        if !dry_run {
            self.objects.insert(place.path.clone(), object.clone());
        }
        Ok(object)
    }
}

fn fresh(place: &Place, body: &Value) -> Value {
    json!({
        "apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": {
            "name": place.name, "uid": format!("uid-{}", place.path), "generation": 1, "managedFields": [],
        },
    })
}

/// Whether the selector of a workload changes.
fn reselects(live: &Value, object: &Value) -> bool {
    let workload = live["apiVersion"] == "apps/v1";
    workload && live["spec"]["selector"] != object["spec"]["selector"]
}

/// What bumps the generation.
fn content(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("metadata");
        map.shift_remove("status");
    }
    object
}

fn without_bookkeeping(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for key in ["managedFields", "generation", "resourceVersion"] {
            metadata.shift_remove(key);
        }
    }
    object
}

/// Paths of all values of a body that an applier owns.
fn leaves(body: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    collect(body, &mut Vec::new(), &mut found);
    let identity = ["apiVersion", "kind"];
    found.retain(|path| {
        let own = |key: &&str| path.first().is_some_and(|first| first == key);
        let name = path.len() == 2
            && path[0] == "metadata"
            && ["name", "namespace", "uid", "resourceVersion"].contains(&path[1].as_str());
        !identity.iter().any(own) && !name
    });
    found.sort();
    found
}

fn collect(value: &Value, at: &mut Path, found: &mut Vec<Path>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                at.push(key.clone());
                collect(value, at, found);
                at.pop();
            }
        }
        _ => found.push(at.clone()),
    }
}

fn fields(paths: &[Path]) -> Value {
    let mut root = json!({});
    for path in paths {
        let mut at = &mut root;
        for key in path {
            let Value::Object(map) = at else { break };
            at = map
                .entry(format!("f:{key}"))
                .or_insert_with(|| Value::Object(Map::new()));
        }
    }
    root
}

/// Paths that a manager owned before.
fn owned(object: &Value, manager: &str) -> Vec<Path> {
    let entries = object["metadata"]["managedFields"].as_array();
    let own = entries
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager && entry["operation"] == "Apply");
    let mut found = Vec::new();
    if let Some(own) = own {
        collect(&own["fieldsV1"], &mut Vec::new(), &mut found);
    }
    for path in &mut found {
        for key in path.iter_mut() {
            *key = key.trim_start_matches("f:").to_owned();
        }
    }
    found.sort();
    found
}

fn take_over(
    object: &mut Value,
    manager: &str,
    subresource: Option<&str>,
    paths: &[Path],
    time: &str,
) {
    let api_version = object["apiVersion"].clone();
    let entries = &mut object["metadata"]["managedFields"];
    if !entries.is_array() {
        *entries = json!([]);
    }
    let Some(entries) = entries.as_array_mut() else {
        return;
    };
    // Forcing takes every field from whoever edited it.
    entries.retain(|entry| {
        let ours = entry["manager"] == manager && entry["operation"] == "Apply";
        !ours && entry["manager"] != "kubectl-edit"
    });
    let mut entry = json!({
        "manager": manager, "operation": "Apply", "time": time, "fieldsV1": fields(paths),
        "apiVersion": api_version, "fieldsType": "FieldsV1",
    });
    if let Some(subresource) = subresource {
        entry["subresource"] = json!(subresource);
    }
    entries.push(entry);
}

/// Removes a value, and the maps that are empty without it.
fn remove(object: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let Some(child) = map.get_mut(first) else {
        return;
    };
    remove(child, rest);
    if rest.is_empty() || child.as_object().is_some_and(Map::is_empty) {
        map.shift_remove(first);
    }
}

fn lay(object: &mut Value, body: &Value) {
    match (object, body) {
        (Value::Object(object), Value::Object(body)) => {
            for (key, value) in body {
                let own = object.entry(key.clone()).or_insert(Value::Null);
                match (key.as_str(), own, value) {
                    ("webhooks", Value::Array(own), Value::Array(new)) => lay_webhooks(own, new),
                    (_, own, value) => lay(own, value),
                }
            }
        }
        (object, body) => *object = body.clone(),
    }
}

fn lay_webhooks(own: &mut Vec<Value>, new: &[Value]) {
    let old = std::mem::take(own);
    for webhook in new {
        let mut merged = old
            .iter()
            .find(|o| o["name"] == webhook["name"])
            .cloned()
            .unwrap_or(json!({}));
        lay(&mut merged, webhook);
        own.push(merged);
    }
}

/// What an API server adds by itself.
pub(super) fn defaults(object: &mut Value) {
    match object["kind"].as_str() {
        Some("Service") => {
            object["spec"]
                .as_object_mut()
                .map(|spec| spec.entry("sessionAffinity").or_insert(json!("None")));
        }
        Some("Deployment") => {
            let pod = object.pointer_mut("/spec/template/spec");
            pod.and_then(Value::as_object_mut)
                .map(|pod| pod.entry("restartPolicy").or_insert(json!("Always")));
        }
        _ => {}
    }
}
