//! Documents, and what the control plane's model reads of them.

use anyhow::{Context, bail};
use ironsail_analysis::{GroupVersionKind, admit};
use ironsail_controlplane::model::object::Object;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// API versions of the mesh's configuration; documents may leave theirs out.
const API_VERSIONS: [(&str, &str); 4] = [
    ("VirtualService", "networking.istio.io/v1"),
    ("DestinationRule", "networking.istio.io/v1"),
    ("Gateway", "networking.istio.io/v1"),
    ("PeerAuthentication", "security.istio.io/v1"),
];

/// All documents of a YAML text.
///
/// # Errors
/// The text is no YAML.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let mut document = Value::deserialize(document)?;
        let versions = API_VERSIONS
            .iter()
            .find(|(kind, _)| document["kind"] == *kind);
        if let (Some((_, version)), true) = (versions, document["apiVersion"].is_null()) {
            document["apiVersion"] = (*version).into();
        }
        if !document.is_null() {
            documents.push(document);
        }
    }
    Ok(documents)
}

/// `Kind name`, for errors.
pub fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "{} {}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Asks the validating webhook about an object.
///
/// # Errors
/// It refuses.
pub fn validate(object: &Value) -> anyhow::Result<()> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let Some((group, version)) = version.split_once('/') else {
        return Ok(());
    };
    if !group.ends_with(".istio.io") {
        return Ok(());
    }
    let kind = object["kind"].as_str().unwrap_or_default();
    let gvk = GroupVersionKind {
        group,
        version,
        kind,
    };
    match admit(gvk, object).message() {
        None => Ok(()),
        Some(message) => bail!(message),
    }
}

/// The object as the API server's watch brings it.
///
/// # Errors
/// It does not decode, or the model knows no such kind.
pub fn model(object: Value) -> anyhow::Result<Object> {
    fn read<T: DeserializeOwned>(object: Value) -> anyhow::Result<Box<T>> {
        let title = title(&object);
        let read = serde_json::from_value(object).with_context(|| title)?;
        Ok(Box::new(read))
    }
    Ok(match object["kind"].as_str().unwrap_or_default() {
        "Service" => Object::Service(read(object)?),
        "EndpointSlice" => Object::EndpointSlice(read(object)?),
        "Pod" => Object::Pod(read(object)?),
        "Node" => Object::Node(read(object)?),
        "VirtualService" => Object::VirtualService(read(object)?),
        "DestinationRule" => Object::DestinationRule(read(object)?),
        "Gateway" => Object::Gateway(read(object)?),
        "PeerAuthentication" => Object::PeerAuthentication(read(object)?),
        "Secret" => Object::Secret(read(object)?),
        _ => bail!("{} is not simulated", title(&object)),
    })
}
