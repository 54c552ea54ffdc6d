//! A small API server in memory: server-side apply with field owners, generations, finalizers and
//! a log of what was written. Only what the operator relies on.

mod apply;
mod install;
pub mod reference;
mod rights;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::Client;
use kube::api::DynamicObject;
use kube::client::Body;
use serde_json::{Value, json};

pub use install::Installer;

use crate::apply::fingerprint::Fingerprint;
use crate::namespace;
use crate::object::{KINDS, Kind};
use crate::observe::{Seen, key};
use crate::plan::MANAGED;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub method: String,
    pub path: String,
}

/// A change of an object by somebody else.
type Change = Box<dyn FnOnce(&mut Value) + Send>;

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    writes: Vec<Write>,
    /// Paths that were read, or tried by a dry run.
    reads: Vec<String>,
    /// Changes of others that happen just before the next dry run of a path that ends like this.
    meanwhile: Vec<(String, Change)>,
    /// Requests whose path contains the text are answered with the status.
    refused: Vec<(Method, String, u16)>,
    /// Namespace and name of the account whose rights are enforced.
    account: Option<(String, String)>,
    clock: i64,
}

/// The server; clones are the same one.
#[derive(Clone, Default)]
pub struct FakeServer {
    state: Arc<Mutex<State>>,
}

/// Where a path leads.
struct Place {
    /// Path of the object or collection, without subresource.
    path: String,
    is_collection: bool,
    subresource: Option<String>,
    name: String,
}

impl Place {
    /// `/api/v1/…` or `/apis/<group>/<version>/…`.
    fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let prefix = if segments[0] == "api" { 2 } else { 3 };
        let rest = &segments[prefix..];
        let namespaced = rest[0] == "namespaces" && rest.len() > 2;
        let resource = if namespaced { 2 } else { 0 };
        let (name, subresource) = (rest.get(resource + 1), rest.get(resource + 2));
        let end = prefix + resource + if name.is_some() { 2 } else { 1 };
        Self {
            path: format!("/{}", segments[..end].join("/")),
            is_collection: name.is_none(),
            subresource: subresource.map(|text| (*text).to_owned()),
            name: name.map_or_else(String::new, |text| (*text).to_owned()),
        }
    }
}

fn query(request: &Request<Body>, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    query.split('&').find_map(|pair| {
        let value = pair.strip_prefix(name)?.strip_prefix('=')?;
        Some(
            value
                .replace("%3D", "=")
                .replace("%2C", ",")
                .replace("%2F", "/")
                .replace("%21", "!"),
        )
    })
}

type Answer = Result<Value, (StatusCode, String)>;

fn refuse(code: StatusCode, message: impl Into<String>) -> Answer {
    Err((code, message.into()))
}

impl FakeServer {
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the lock")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let dry_run = query(&request, "dryRun").is_some();
        let manager = query(&request, "fieldManager").unwrap_or_default();
        let selector = query(&request, "labelSelector").unwrap_or_default();
        let fields = query(&request, "fieldSelector").unwrap_or_default();
        let limit = query(&request, "limit").unwrap_or_default();
        let from = query(&request, "continue").unwrap_or_default();
        let kind = request.headers().get("content-type").cloned();
        let is_apply =
            kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
        let body = request.into_body().collect_bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if path == "/version" {
            let refusal = self.state().refusal(&method, &path);
            return respond(refusal.unwrap_or(StatusCode::OK), &version());
        }
        let place = Place::of(&path);
        let mut state = self.state();
        let refusal = state
            .refusal(&method, &path)
            .map(|code| (code, "refused by the test".to_owned()))
            .or_else(|| state.unauthorized(&method, &path));
        let answer = match refusal {
            Some((code, message)) => refuse(code, message),
            None => match method {
                Method::GET if place.is_collection => Ok(page(
                    state.list(&place.path, &selector, &fields),
                    &limit,
                    &from,
                )),
                Method::GET => state.get(&place),
                Method::PATCH if is_apply => {
                    if dry_run {
                        state.change_meanwhile(&place.path);
                    }
                    state.apply(&place, &manager, &body, dry_run)
                }
                Method::PATCH => state.merge(&place, &manager, &body),
                Method::PUT => state.replace(&place, body),
                // A review is answered, not stored; without a verdict.
                Method::POST if path.ends_with("reviews") => Ok(body),
                Method::POST => state.create(&place, body),
                Method::DELETE => state.delete(&place, &body),
                _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "not here"),
            },
        };
        if method == Method::GET || dry_run {
            state.reads.push(path);
        } else if !path.contains("/events") {
            state.writes.push(Write {
                method: method.to_string(),
                path,
            });
        }
        let (code, body) = match answer {
            Ok(body) => (StatusCode::OK, body),
            Err((code, message)) => (
                code,
                json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": message, "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""), "code": code.as_u16(),
                }),
            ),
        };
        respond(code, &body)
    }

    /// What was read or tried since the last call.
    pub fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut self.state().reads)
    }

    /// What was written since the last call, events and dry runs aside.
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.state().writes)
    }

    /// Changes an object just before the next dry run of it, after it was read.
    pub fn change_meanwhile(&self, end: &str, change: impl FnOnce(&mut Value) + Send + 'static) {
        let meanwhile = &mut self.state().meanwhile;
        meanwhile.push((end.to_owned(), Box::new(change)));
    }

    /// Answers requests with an error from now on; `path` is a part of the path.
    pub fn refuse(&self, method: Method, path: &str, code: u16) {
        self.state().refused.push((method, path.to_owned(), code));
    }

    /// Answers all requests again.
    pub fn allow_all(&self) {
        self.state().refused.clear();
    }

    /// An object by the end of its path.
    #[track_caller]
    pub fn object(&self, end: &str) -> Value {
        let state = self.state();
        let found = state.objects.iter().find(|(path, _)| path.ends_with(end));
        found.unwrap_or_else(|| panic!("no {end}")).1.clone()
    }

    /// All objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let state = self.state();
        let all = state
            .objects
            .values()
            .filter(|object| object["kind"] == kind);
        all.cloned().collect()
    }

    pub fn has(&self, end: &str) -> bool {
        self.state().objects.keys().any(|path| path.ends_with(end))
    }

    /// Changes an object like `kubectl edit`.
    #[track_caller]
    pub fn edit(&self, end: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let time = state.now();
        let object = state.find(end);
        change(object);
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
        object["metadata"]["generation"] = json!(generation + 1);
        let entries = object["metadata"]["managedFields"]
            .as_array_mut()
            .expect("applied before");
        entries.retain(|entry| entry["manager"] != "kubectl-edit");
        entries.push(json!({"manager": "kubectl-edit", "operation": "Update", "time": time}));
    }

    /// Writes an object as it is.
    #[track_caller]
    pub fn replace(&self, end: &str, object: Value) {
        let mut state = self.state();
        let version = state.tick().to_string();
        let own = state.find(end);
        *own = object;
        own["metadata"]["resourceVersion"] = json!(version);
    }

    /// Removes an object like `kubectl delete`.
    pub fn remove(&self, end: &str) {
        self.state().objects.retain(|path, _| !path.ends_with(end));
    }

    /// Deletes what a filter on path and object chooses, as the API server does: what has
    /// finalizers stays and is marked.
    pub fn delete_all(&self, chosen: impl Fn(&str, &Value) -> bool) {
        let mut state = self.state();
        let found = state.objects.iter().filter(|(path, o)| chosen(path, o));
        let paths: Vec<String> = found.map(|(path, _)| path.clone()).collect();
        for path in paths {
            let place = Place::of(&path);
            state.delete(&place, &Value::Null).expect("it is there");
        }
    }

    /// Answers only what the account may do by the roles that are there, from now on.
    pub fn enforce_rights(&self, namespace: &str, account: &str) {
        self.state().account = Some((namespace.to_owned(), account.to_owned()));
    }

    /// Puts an object, as a user would create it; the path is its collection's.
    pub fn put(&self, collection: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let path = format!("{collection}/{name}");
        let mut state = self.state();
        let mut object = object;
        object["metadata"]["uid"] = json!(format!("uid-{path}"));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["resourceVersion"] = json!(state.tick().to_string());
        state.objects.insert(path, object);
    }

    /// Writes an object where its kind belongs.
    #[track_caller]
    pub fn install(&self, object: Value) {
        let collection = match Kind::of(&object) {
            Some(kind) => {
                let prefix = if kind.group.is_empty() {
                    "/api"
                } else {
                    "/apis"
                };
                let namespace = object["metadata"]["namespace"].as_str();
                let namespace = namespace.map_or_else(String::new, |n| format!("/namespaces/{n}"));
                format!("{prefix}/{}{namespace}/{}", kind.api_version(), kind.plural)
            }
            None => {
                assert_eq!(object["kind"], "Namespace", "other kinds are rendered");
                "/api/v1/namespaces".to_owned()
            }
        };
        self.put(&collection, object);
    }

    /// Plays the controllers: all workloads run.
    pub fn make_ready(&self) {
        self.make_ready_if(|_| true);
    }

    /// Plays the controllers for workloads at some paths.
    pub fn make_ready_if(&self, chosen: impl Fn(&str) -> bool) {
        for (path, object) in &mut self.state().objects {
            if !chosen(path) {
                continue;
            }
            if path.contains("/deployments/") {
                let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
                object["status"] = json!({
                    "observedGeneration": object["metadata"]["generation"],
                    "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas,
                });
            }
            if path.contains("/daemonsets/") {
                object["status"] = json!({
                    "observedGeneration": object["metadata"]["generation"],
                    "currentNumberScheduled": 1, "desiredNumberScheduled": 1,
                    "numberMisscheduled": 0, "numberReady": 1, "updatedNumberScheduled": 1,
                });
            }
        }
    }

    /// What the watches would show.
    pub fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for object in self.state().objects.values() {
            if object["kind"] == "Namespace" {
                let typed: DynamicObject =
                    serde_json::from_value(object.clone()).expect("an object");
                let name = typed.metadata.name.clone().unwrap_or_default();
                seen.namespaces
                    .insert(name, namespace::State::of(&typed.metadata));
            }
            let managed = object.pointer("/metadata/labels/operator.istio.io~1managed");
            let Some(kind) = Kind::of(object).filter(|_| managed == Some(&json!(MANAGED))) else {
                continue;
            };
            let typed: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
            seen.add(kind, &typed.metadata, Fingerprint::of(&typed.metadata));
            if kind.kind == "Deployment" {
                let deployment = serde_json::from_value(object.clone()).expect("a Deployment");
                seen.deployments
                    .insert(key(kind, &typed.metadata), deployment);
            }
            if kind.kind == "DaemonSet" {
                let set = serde_json::from_value(object.clone()).expect("a DaemonSet");
                seen.daemon_sets.insert(key(kind, &typed.metadata), set);
            }
        }
        seen
    }

    /// Names of all objects of kinds that the operator renders, as `Kind name`.
    pub fn rendered(&self) -> Vec<String> {
        let state = self.state();
        let known = state.objects.values().filter(|object| {
            Kind::of(object).is_some_and(|kind| KINDS.contains(kind))
                && !object["metadata"]["name"]
                    .as_str()
                    .unwrap_or("")
                    .starts_with("istio-operator-plan")
        });
        let mut names: Vec<String> = known
            .map(|object| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {}",
                    text(&object["kind"]),
                    text(&object["metadata"]["name"])
                )
            })
            .collect();
        names.sort();
        names
    }
}

fn respond(code: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let bytes = Bytes::from(body.to_string());
    Response::builder()
        .status(code)
        .body(Full::new(bytes))
        .expect("a response")
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    })
}

impl State {
    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    /// Time stamps differ for every write.
    fn now(&mut self) -> String {
        let seconds = self.tick();
        k8s_openapi::jiff::Timestamp::from_second(1_700_000_000 + seconds)
            .expect("in range")
            .to_string()
    }

    fn refusal(&self, method: &Method, path: &str) -> Option<StatusCode> {
        let found = self
            .refused
            .iter()
            .find(|(m, part, _)| m == method && path.contains(part));
        found.map(|(_, _, code)| StatusCode::from_u16(*code).expect("a status"))
    }

    #[track_caller]
    fn find(&mut self, end: &str) -> &mut Value {
        let found = self
            .objects
            .iter_mut()
            .find(|(path, _)| path.ends_with(end));
        found.unwrap_or_else(|| panic!("no {end}")).1
    }

    fn change_meanwhile(&mut self, path: &str) {
        let due = self
            .meanwhile
            .iter()
            .position(|(end, _)| path.ends_with(end.as_str()));
        let Some(index) = due else { return };
        let (_, change) = self.meanwhile.swap_remove(index);
        self.now();
        let version = self.clock.to_string();
        let object = self.objects.get_mut(path).expect("it was read");
        change(object);
        object["metadata"]["resourceVersion"] = json!(version);
    }

    fn get(&self, place: &Place) -> Answer {
        match self.objects.get(&place.path) {
            Some(object) => Ok(object.clone()),
            None => refuse(StatusCode::NOT_FOUND, format!("{} not found", place.name)),
        }
    }

    fn list(&self, path: &str, selector: &str, fields: &str) -> Value {
        let (group, plural) = path.rsplit_once('/').expect("a collection");
        let matches = |object: &Value| {
            selector
                .split(',')
                .filter(|part| !part.is_empty())
                .all(|part| {
                    let labels = &object["metadata"]["labels"];
                    match part.split_once('=') {
                        Some((key, value)) => labels[key] == value,
                        None => labels.get(part).is_some(),
                    }
                })
        };
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(own, object)| {
                let parent = own.rsplit_once('/').map(|(parent, _)| parent);
                let here = parent.is_some_and(|parent| {
                    parent.starts_with(group) && parent.ends_with(&format!("/{plural}"))
                });
                here && matches(object) && has_fields(object, fields)
            })
            .map(|(_, object)| object.clone())
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
    }

    fn create(&mut self, place: &Place, body: Value) -> Answer {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("{}/{name}", place.path);
        if self.objects.contains_key(&path) {
            return refuse(StatusCode::CONFLICT, format!("{name} already exists"));
        }
        let mut object = body;
        object["metadata"]["resourceVersion"] = json!(self.tick().to_string());
        self.objects.insert(path, object.clone());
        Ok(object)
    }

    fn replace(&mut self, place: &Place, body: Value) -> Answer {
        let version = self.tick().to_string();
        let Some(object) = self.objects.get_mut(&place.path) else {
            return refuse(StatusCode::NOT_FOUND, "not found");
        };
        if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return refuse(StatusCode::CONFLICT, "the object has been modified");
        }
        *object = body;
        object["metadata"]["resourceVersion"] = json!(version);
        Ok(object.clone())
    }

    fn merge(&mut self, place: &Place, manager: &str, body: &Value) -> Answer {
        let time = self.now();
        let version = self.clock.to_string();
        let Some(object) = self.objects.get_mut(&place.path) else {
            return refuse(StatusCode::NOT_FOUND, "not found");
        };
        let expected = &body["metadata"]["resourceVersion"];
        if !expected.is_null() && *expected != object["metadata"]["resourceVersion"] {
            return refuse(StatusCode::CONFLICT, "the object has been modified");
        }
        crate::value::merge(object, body);
        drop_nulls(object);
        object["metadata"]["resourceVersion"] = json!(version);
        if body["metadata"].get("finalizers").is_some() {
            note_finalizers(object, manager, &time);
        }
        let metadata = &object["metadata"];
        let finalizers = metadata["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        let object = object.clone();
        if !metadata_of(&object)["deletionTimestamp"].is_null() && !finalizers {
            self.objects.remove(&place.path);
        }
        Ok(object)
    }

    fn delete(&mut self, place: &Place, body: &Value) -> Answer {
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let Some(object) = self.objects.get_mut(&place.path) else {
            return refuse(StatusCode::NOT_FOUND, "not found");
        };
        let uid = &body["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return refuse(StatusCode::CONFLICT, "another object");
        }
        if object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            object["metadata"]["deletionTimestamp"] = json!(now);
            return Ok(object.clone());
        }
        let object = object.clone();
        self.objects.remove(&place.path);
        Ok(object)
    }
}

/// Who wrote the finalizers of an object.
fn note_finalizers(object: &mut Value, manager: &str, time: &str) {
    let entries = &mut object["metadata"]["managedFields"];
    if !entries.is_array() {
        *entries = json!([]);
    }
    if let Some(entries) = entries.as_array_mut() {
        entries.retain(|entry| entry["manager"] != manager || entry["operation"] != "Update");
        entries.push(json!({
            "manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:finalizers": {}}},
        }));
    }
}

/// Conditions such as `status.phase!=Failed`.
fn has_fields(object: &Value, fields: &str) -> bool {
    fields
        .split(',')
        .filter(|part| !part.is_empty())
        .all(|part| {
            let (path, value) = part.split_once("!=").expect("only this is asked for");
            object.pointer(&format!("/{}", path.replace('.', "/"))) != Some(&json!(value))
        })
}

/// A page of a list, from a token on, which is a position.
fn page(mut list: Value, limit: &str, from: &str) -> Value {
    let (Ok(limit), Some(items)) = (limit.parse::<usize>(), list["items"].as_array()) else {
        return list;
    };
    let from = from.parse().unwrap_or(0);
    let (end, all) = ((from + limit).min(items.len()), items.len());
    list["items"] = items[from..end].to_vec().into();
    if end < all {
        list["metadata"]["continue"] = json!(end.to_string());
    }
    list
}

/// A merge patch removes what it sets to null.
fn drop_nulls(object: &mut Value) {
    if let Value::Object(map) = object {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

fn metadata_of(object: &Value) -> &Value {
    &object["metadata"]
}
