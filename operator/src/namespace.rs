//! Namespaces: whether they are there, and whether they are going away.

use std::collections::BTreeMap;

use ironsail_mesh::label;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};

use crate::apply::MANAGER;

/// State of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    Active {
        /// Value of `topology.istio.io/network`.
        network: Option<String>,
    },
    /// Being deleted since.
    Terminating(Time),
}

impl State {
    /// The state that a namespace's metadata show.
    pub fn of(metadata: &ObjectMeta) -> Self {
        if let Some(since) = &metadata.deletion_timestamp {
            return Self::Terminating(since.clone());
        }
        let network = metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(label::NETWORK));
        Self::Active {
            network: network.cloned(),
        }
    }
}

/// Looks at a namespace.
///
/// # Errors
/// The API server doesn't answer.
pub async fn state(client: &Client, name: &str) -> Result<State, kube::Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_metadata_opt(name).await?;
    Ok(found.map_or(State::Absent, |found| State::of(&found.metadata)))
}

/// Makes a namespace, or labels it with its network.
///
/// # Errors
/// The API server refuses it.
pub async fn ensure(
    client: &Client,
    name: &str,
    network: &str,
    state: &State,
) -> Result<(), kube::Error> {
    let labelled = match state {
        State::Active { network: current } => {
            network.is_empty() || current.as_deref() == Some(network)
        }
        State::Absent | State::Terminating(_) => false,
    };
    if labelled {
        return Ok(());
    }
    let labels = (!network.is_empty())
        .then(|| BTreeMap::from([(label::NETWORK.to_owned(), network.to_owned())]));
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels,
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let api: Api<Namespace> = Api::all(client.clone());
    let params = PatchParams::apply(MANAGER).force();
    api.patch(name, &params, &Patch::Apply(&namespace))
        .await
        .map(drop)
}
