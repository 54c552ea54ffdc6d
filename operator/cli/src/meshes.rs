//! IstioOperators of a cluster.

use anyhow::Context as _;
use ironsail_operator::events::operator_resource;
use ironsail_operator::plan::Owner;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};

/// All IstioOperators; none where the cluster doesn't have the kind.
///
/// # Errors
/// The API server refuses the list or can't be reached.
pub async fn operators(client: &Client) -> anyhow::Result<Vec<Owner>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &operator_resource());
    match api.list_metadata(&ListParams::default()).await {
        Ok(list) => Ok(list
            .items
            .into_iter()
            .map(|found| owner(found.metadata))
            .collect()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error).context("IstioOperators can't be listed"),
    }
}

fn owner(metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Owner {
    Owner {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
    }
}
