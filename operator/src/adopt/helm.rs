//! Helm's records of releases. A record that Helm no longer finds can't uninstall what was
//! adopted; it is kept, so that there is a way back.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};

use super::live::Release;
use super::writer::ADOPTION_MANAGER;

/// Label by which Helm finds its records.
const OWNER: &str = "owner";
const HELM: &str = "helm";
/// Value of that label for a record of an adopted release.
const ADOPTED: &str = "ironsail";

/// Who finds a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    Helm,
    Nobody,
}

impl Finder {
    fn label(self) -> &'static str {
        match self {
            Self::Helm => HELM,
            Self::Nobody => ADOPTED,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Helm => Self::Nobody,
            Self::Nobody => Self::Helm,
        }
    }
}

/// Lets records of a release be found, or not. Returns how many were changed.
///
/// # Errors
/// The API server refuses it: rights to list and update Secrets are needed.
pub async fn set_finder(
    client: &Client,
    release: &Release,
    finder: Finder,
) -> Result<usize, kube::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &release.namespace);
    let selector = format!("{OWNER}={},name={}", finder.other().label(), release.name);
    let records = api.list(&ListParams::default().labels(&selector)).await?;
    let params = PostParams {
        field_manager: Some(ADOPTION_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let count = records.items.len();
    for mut record in records.items {
        let labels = record.metadata.labels.get_or_insert_default();
        labels.insert(OWNER.to_owned(), finder.label().to_owned());
        let name = record.metadata.name.clone().unwrap_or_default();
        api.replace(&name, &params, &record).await?;
    }
    Ok(count)
}

/// What does the same by hand.
pub fn command(release: &Release, finder: Finder) -> String {
    format!(
        "kubectl -n {} label secret -l {OWNER}={},name={} {OWNER}={} --overwrite",
        release.namespace,
        finder.other().label(),
        release.name,
        finder.label()
    )
}

/// A release as [`Release`] prints it.
pub fn parse(text: &str) -> Option<Release> {
    let (namespace, name) = text.split_once('/')?;
    Some(Release {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}
