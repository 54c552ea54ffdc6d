//! A Service changes whom it selects only when those pods are there.

use crate::apply::{Applier, ApplyError, api};
use crate::health::{self, Health};
use crate::object::Manifest;
use crate::observe::Seen;
use crate::value::get;

/// The workload whose pods a Service would select and that are not there yet.
///
/// # Errors
/// The API server doesn't answer.
pub async fn awaits(
    service: &Manifest,
    desired: &[Manifest],
    seen: &Seen,
    applier: &Applier<'_>,
) -> Result<Option<String>, ApplyError> {
    let live = seen.objects.get(service.key());
    let known = applier.is_as_left(service, live.map(|live| &live.fingerprint));
    if service.kind().kind != "Service" || live.is_none() || known {
        return Ok(None);
    }
    let place = |object: &Manifest| (object.namespace().to_owned(), object.name().to_owned());
    let workload = desired
        .iter()
        .find(|object| object.kind().kind == "Deployment" && place(object) == place(service));
    let Some(workload) = workload.filter(|workload| !runs(workload, seen, applier)) else {
        return Ok(None);
    };
    let changes = selects_others(service, applier).await?;
    Ok(changes.then(|| format!("Deployment {}", workload.name())))
}

/// Whether a workload is as desired, and all of its pods.
fn runs(workload: &Manifest, seen: &Seen, applier: &Applier<'_>) -> bool {
    let live = seen.objects.get(workload.key());
    let ready = seen.deployments.get(workload.key()).map(health::deployment);
    applier.is_as_left(workload, live.map(|live| &live.fingerprint)) && ready == Some(Health::Ready)
}

async fn selects_others(service: &Manifest, applier: &Applier<'_>) -> Result<bool, ApplyError> {
    let api = api(applier.client, service.kind(), service.namespace());
    let live = api.get_opt(service.name()).await;
    let live = live.map_err(|error| ApplyError::new(service.key(), error))?;
    let selector = ["spec", "selector"];
    Ok(live.is_some_and(|live| get(&live.data, &selector) != get(&service.body(), &selector)))
}
