//! Where the accepted plan is kept: compressed in a ConfigMap beside its object.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ironsail_crds::IstioOperator;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::{Owner, Plan};
use crate::apply::MANAGER;
use crate::object::owner_reference;

/// Bytes that a stored plan may have when decompressed; the API server's limit times a good ratio.
const MAX_PLAN_BYTES: u64 = 32 << 20;
const MAX_NAME_BYTES: usize = 253;
/// What names of the ConfigMaps begin with.
pub(super) const PREFIX: &str = "istio-operator-plan.";
const PLAN_KEY: &str = "plan.json.gz";
const ROLLED_OUT_KEY: &str = "rolledOut";
const REPLACED_KEY: &str = "replaced";

/// A plan and how far it got.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub plan: Plan,
    /// Whether everything was ready once; from then on drift is repaired without waiting.
    pub rolled_out: bool,
    /// Whether it replaced another plan.
    pub replaced: bool,
}

/// Why a plan was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the accepted plan in ConfigMap {name} can't be reached: {}",
        crate::apply::reason(source)
    )]
    Api {
        name: String,
        source: Box<kube::Error>,
    },
    #[error("the accepted plan can't be compressed: {0}")]
    Encode(#[source] std::io::Error),
}

/// Name of the ConfigMap of an owner.
pub fn name(owner: &Owner) -> String {
    let name = format!("{PREFIX}{}", owner.name);
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let digest = Sha256::digest(owner.name.as_bytes());
    let digest: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{PREFIX}{digest}")
}

/// Reads the accepted plan. One that is there but unreadable counts as absent and is reported in
/// the log: the next rendering replaces it.
///
/// # Errors
/// The API server doesn't answer.
pub async fn load(client: &Client, owner: &Owner) -> Result<Option<Accepted>, StoreError> {
    let name = name(owner);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.namespace);
    let map = api.get_opt(&name).await.map_err(|source| StoreError::Api {
        name: name.clone(),
        source: Box::new(source),
    })?;
    let Some(map) = map else { return Ok(None) };
    match decode(&map) {
        Some(accepted) => Ok(Some(accepted)),
        None => {
            warn!(object = %name, namespace = %owner.namespace, "Stored plan is unreadable");
            Ok(None)
        }
    }
}

pub(super) fn decode(map: &ConfigMap) -> Option<Accepted> {
    let bytes = &map.binary_data.as_ref()?.get(PLAN_KEY)?.0;
    let mut json = Vec::new();
    GzDecoder::new(bytes.as_slice())
        .take(MAX_PLAN_BYTES)
        .read_to_end(&mut json)
        .ok()?;
    let plan: Plan = serde_json::from_slice(&json).ok()?;
    let is = |key: &str| {
        let text = map.data.as_ref().and_then(|data| data.get(key));
        text.is_some_and(|text| text == "true")
    };
    (plan.content_hash() == plan.hash).then(|| Accepted {
        plan,
        rolled_out: is(ROLLED_OUT_KEY),
        replaced: is(REPLACED_KEY),
    })
}

/// Stores the accepted plan; it goes away with its owner, the IstioOperator of this metadata.
///
/// # Errors
/// The API server refuses it.
pub async fn save(
    client: &Client,
    owner: &Owner,
    operator: &ObjectMeta,
    accepted: &Accepted,
) -> Result<(), StoreError> {
    let reference = owner_reference::<IstioOperator>(operator);
    write(client, owner, Some(&reference), accepted).await
}

/// Stores what the command line installs, for an owner that is no object; [`forget`] removes it.
///
/// # Errors
/// The API server refuses it.
pub async fn record(client: &Client, owner: &Owner, accepted: &Accepted) -> Result<(), StoreError> {
    write(client, owner, None, accepted).await
}

/// Whether the command line installed something for an owner, and no IstioOperator has it since.
///
/// # Errors
/// The API server doesn't answer.
pub async fn is_installed(client: &Client, owner: &Owner) -> Result<bool, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.namespace);
    match api.get_metadata_opt(&name(owner)).await {
        Ok(found) => Ok(found.is_some_and(|map| is_unowned(&map.metadata))),
        // Reading it is no right of the last steps.
        Err(kube::Error::Api(answer)) if answer.code == 403 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes what [`record`] stored.
///
/// # Errors
/// The API server refuses it.
pub async fn forget(client: &Client, owner: &Owner) -> Result<(), kube::Error> {
    if !is_installed(client, owner).await? {
        return Ok(());
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.namespace);
    api.delete(&name(owner), &DeleteParams::background())
        .await
        .map(drop)
}

pub(super) fn is_unowned(metadata: &ObjectMeta) -> bool {
    metadata.owner_references.iter().flatten().next().is_none()
}

async fn write(
    client: &Client,
    owner: &Owner,
    reference: Option<&OwnerReference>,
    accepted: &Accepted,
) -> Result<(), StoreError> {
    let name = name(owner);
    let map = encode(&name, owner, reference, accepted).map_err(StoreError::Encode)?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.namespace);
    let params = PatchParams::apply(MANAGER).force();
    let saved = api.patch(&name, &params, &Patch::Apply(&map)).await;
    saved.map(drop).map_err(|source| StoreError::Api {
        name,
        source: Box::new(source),
    })
}

fn encode(
    name: &str,
    owner: &Owner,
    reference: Option<&OwnerReference>,
    accepted: &Accepted,
) -> std::io::Result<ConfigMap> {
    let json = serde_json::to_vec(&accepted.plan)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&json)?;
    let bytes = encoder.finish()?;
    let texts = [
        ("hash", accepted.plan.hash.clone()),
        ("renderer", accepted.plan.renderer.clone()),
        (ROLLED_OUT_KEY, accepted.rolled_out.to_string()),
        (REPLACED_KEY, accepted.replaced.to_string()),
    ];
    let note = match reference {
        Some(_) => {
            "What the operator keeps installed for an IstioOperator of this namespace. Written by \
             the operator; another plan is accepted through the IstioOperator."
        }
        None => {
            "What the command line installed last. An IstioOperator of the same name takes it over."
        }
    };
    Ok(ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                MANAGER.to_owned(),
            )])),
            annotations: Some(BTreeMap::from([(
                "kubernetes.io/description".to_owned(),
                note.to_owned(),
            )])),
            owner_references: reference.map(|reference| vec![reference.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(texts.map(|(key, text)| (key.to_owned(), text)).into()),
        binary_data: Some(BTreeMap::from([(PLAN_KEY.to_owned(), ByteString(bytes))])),
        ..ConfigMap::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Fresh;
    use crate::render::{Context, render};

    #[test]
    fn what_is_stored_reads_the_same_and_is_small() {
        let spec = json!({"profile": "demo"});
        let plan = Fresh::new(render(&spec, &Context::default()).expect("valid"), &spec).plan;
        let accepted = Accepted {
            plan,
            rolled_out: true,
            replaced: false,
        };
        let owner = Owner {
            namespace: "istio-system".into(),
            name: "mesh".into(),
        };
        let map =
            encode("x", &owner, Some(&OwnerReference::default()), &accepted).expect("encodes");
        let mut edited = accepted.clone();
        edited.plan.objects.pop();
        let edited =
            encode("x", &owner, Some(&OwnerReference::default()), &edited).expect("encodes");
        assert_eq!(
            decode(&edited),
            None,
            "a plan that was edited is not trusted"
        );
        let bytes = map.binary_data.as_ref().expect("data")[PLAN_KEY].0.len();
        assert!(bytes < 20_000, "{bytes} bytes");
        assert_eq!(decode(&map), Some(accepted));
    }

    #[test]
    fn an_unreadable_plan_is_none() {
        let map = ConfigMap {
            binary_data: Some([(PLAN_KEY.to_owned(), ByteString(vec![1, 2, 3]))].into()),
            ..ConfigMap::default()
        };
        assert_eq!(decode(&map), None);
    }

    #[test]
    fn long_names_are_shortened() {
        let owner = |name: String| Owner {
            namespace: "x".into(),
            name,
        };
        assert_eq!(name(&owner("mesh".into())), "istio-operator-plan.mesh");
        assert!(name(&owner("a".repeat(253))).len() <= MAX_NAME_BYTES);
        assert_ne!(name(&owner("a".repeat(253))), name(&owner("b".repeat(253))));
    }
}
