//! Events of IstioOperator objects, for `kubectl describe`. Only changes are told, so an idle
//! operator writes none.

use ironsail_runtime::log::chain;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::{Client, Resource as _};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::debug;

use crate::object::Manifest;

/// Longest note that the API takes.
const MAX_NOTE_BYTES: usize = 1000;

/// Writes events in the name of the operator; what can't be written is only logged.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    /// `instance` is the pod's name.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter {
            controller: "istio-operator".to_owned(),
            instance,
        };
        Self { client, reporter }
    }

    /// Something happened as wanted.
    pub async fn normal(&self, about: &DynamicObject, reason: &str, note: impl Into<String>) {
        self.publish(about, EventType::Normal, reason, note.into(), None)
            .await;
    }

    /// Something is not as wanted.
    pub async fn warning(&self, about: &DynamicObject, reason: &str, note: impl Into<String>) {
        self.publish(about, EventType::Warning, reason, note.into(), None)
            .await;
    }

    /// Something happened to an owned object.
    pub async fn object(
        &self,
        about: &DynamicObject,
        type_: EventType,
        reason: &str,
        note: impl Into<String>,
        object: &Manifest,
    ) {
        let reference = ObjectReference {
            api_version: Some(object.kind().api_version()),
            kind: Some(object.kind().kind.to_owned()),
            namespace: Some(object.namespace().to_owned()).filter(|text| !text.is_empty()),
            name: Some(object.name().to_owned()),
            ..ObjectReference::default()
        };
        self.publish(about, type_, reason, note.into(), Some(reference))
            .await;
    }

    async fn publish(
        &self,
        about: &DynamicObject,
        type_: EventType,
        reason: &str,
        note: String,
        secondary: Option<ObjectReference>,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(bounded(note)),
            action: reason.to_owned(),
            secondary,
        };
        let reference = about.object_ref(&operator_resource());
        // A recorder of its own for each: one that lives longer would repeat the first note of
        // several with the same reason.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &reference).await {
            debug!(error = %chain(&error), reason, "Event was not written");
        }
    }
}

/// The resource of IstioOperator objects.
pub fn operator_resource() -> kube::core::ApiResource {
    kube::core::ApiResource::erase::<ironsail_crds::IstioOperator>(&())
}

fn bounded(mut note: String) -> String {
    if note.len() > MAX_NOTE_BYTES {
        let end = (0..=MAX_NOTE_BYTES)
            .rev()
            .find(|at| note.is_char_boundary(*at))
            .unwrap_or(0);
        note.truncate(end);
    }
    note
}
