//! Secrets of the control plane's namespace.

use std::collections::BTreeMap;
use std::future::Future;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

/// A Secret as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// Needed to replace it.
    pub version: String,
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Why the API server did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("Secret {name} cannot be {verb}")]
pub struct StoreError {
    pub verb: &'static str,
    pub name: String,
    #[source]
    pub source: kube::Error,
}

/// Reads and writes Secrets of one namespace.
pub trait SecretStore: Send + Sync + 'static {
    fn get(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<StoredSecret>, StoreError>> + Send;

    /// Returns whether it was created; `false` means that another was faster.
    fn create(
        &self,
        name: &str,
        kind: &str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns whether it was replaced; `false` means that it changed after `version`.
    fn replace(
        &self,
        name: &str,
        version: &str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// The API server's.
#[derive(Clone)]
pub struct KubeSecrets {
    api: Api<Secret>,
}

impl KubeSecrets {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
        }
    }
}

const CONFLICT: u16 = 409;

impl SecretStore for KubeSecrets {
    async fn get(&self, name: &str) -> Result<Option<StoredSecret>, StoreError> {
        let found = self.api.get_opt(name).await;
        let found = found.map_err(|source| error("read", name, source))?;
        Ok(found.map(|secret| StoredSecret {
            version: secret.metadata.resource_version.unwrap_or_default(),
            data: secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, bytes)| (key, bytes.0))
                .collect(),
        }))
    }

    async fn create(
        &self,
        name: &str,
        kind: &str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            type_: Some(kind.to_owned()),
            data: Some(to_bytes(data)),
            ..Default::default()
        };
        won(self.api.create(&PostParams::default(), &secret).await)
            .map_err(|source| error("created", name, source))
    }

    async fn replace(
        &self,
        name: &str,
        version: &str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let failed = |source| error("replaced", name, source);
        let Some(mut secret) = self.api.get_opt(name).await.map_err(failed)? else {
            return Ok(false);
        };
        secret.metadata.resource_version = Some(version.to_owned());
        secret.data = Some(to_bytes(data));
        won(self
            .api
            .replace(name, &PostParams::default(), &secret)
            .await)
        .map_err(failed)
    }
}

fn to_bytes(data: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, ByteString> {
    data.into_iter()
        .map(|(key, bytes)| (key, ByteString(bytes)))
        .collect()
}

fn error(verb: &'static str, name: &str, source: kube::Error) -> StoreError {
    StoreError {
        verb,
        name: name.to_owned(),
        source,
    }
}

/// A conflict is no error but the news that somebody else was faster.
fn won<T>(outcome: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(false),
        Err(error) => Err(error),
    }
}
