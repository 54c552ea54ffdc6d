//! Helm's records of releases. A record that Helm no longer finds can't uninstall what was
//! adopted; it is kept, so that there is a way back.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

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
    let (api, records) = records(client, release, finder.other()).await?;
    let params = PostParams {
        field_manager: Some(ADOPTION_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let count = records.len();
    for mut record in records {
        let labels = record.metadata.labels.get_or_insert_default();
        labels.insert(OWNER.to_owned(), finder.label().to_owned());
        let name = record.metadata.name.clone().unwrap_or_default();
        api.replace(&name, &params, &record).await?;
    }
    Ok(count)
}

/// Removes the records of a release that Helm no longer finds; it would refuse another release of
/// the same name.
///
/// # Errors
/// The API server refuses it: rights to list and delete Secrets are needed.
pub async fn forget(client: &Client, release: &Release) -> Result<(), kube::Error> {
    let (api, records) = records(client, release, Finder::Nobody).await?;
    for record in records {
        let name = record.metadata.name.unwrap_or_default();
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Records of a release that somebody finds.
async fn records(
    client: &Client,
    release: &Release,
    finder: Finder,
) -> Result<(Api<Secret>, Vec<Secret>), kube::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &release.namespace);
    let params = ListParams::default().labels(&selector(release, finder));
    let records = api.list(&params).await?.items;
    Ok((api, records))
}

fn selector(release: &Release, finder: Finder) -> String {
    format!("{OWNER}={},name={}", finder.label(), release.name)
}

/// What does the same as [`forget`] by hand.
pub fn removal(release: &Release) -> String {
    let selector = selector(release, Finder::Nobody);
    format!(
        "kubectl -n {} delete secret -l {selector}",
        release.namespace
    )
}

/// What does the same as [`set_finder`] by hand.
pub fn command(release: &Release, finder: Finder) -> String {
    format!(
        "kubectl -n {} label secret -l {} {OWNER}={} --overwrite",
        release.namespace,
        selector(release, finder.other()),
        finder.label()
    )
}
