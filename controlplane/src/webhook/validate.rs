//! `/validate`: mesh resources on their way into the cluster.

use ironsail_analysis::{GroupVersionKind, admit};
use ironsail_kube::admission::{self, Verdict};
use ironsail_runtime::admin::{Request, Response};
use tracing::debug;

use super::Webhooks;

pub async fn serve(webhooks: Webhooks, request: Request) -> Response {
    let review = match admission::parse(&request) {
        Ok(review) => review,
        Err(response) => return *response,
    };
    let asked = &review.request;
    if !matches!(asked.operation.as_str(), "CREATE" | "UPDATE") {
        return admission::answer(&review, Verdict::default());
    }
    let verdict = admit(
        GroupVersionKind {
            group: &asked.kind.group,
            version: &asked.kind.version,
            kind: &asked.kind.kind,
        },
        &asked.object,
    );
    let resource = &asked.resource;
    let labels = [
        resource.group.as_str(),
        resource.version.as_str(),
        resource.resource.as_str(),
    ];
    let refusal = verdict.message();
    match &refusal {
        None => webhooks.metrics.valid.with_label_values(&labels).inc(),
        Some(message) => {
            let [group, version, resource] = labels;
            let failed = [group, version, resource, "invalid_resource"];
            webhooks.metrics.invalid.with_label_values(&failed).inc();
            debug!(kind = %asked.kind.kind, namespace = %asked.namespace, %message, "Resource refused");
        }
    }
    let answer = Verdict {
        refusal,
        warnings: verdict.warning_texts(),
        ..Verdict::default()
    };
    admission::answer(&review, answer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ironsail_analysis::effect::ACTED_UPON;
    use ironsail_crds::kind::KINDS;

    use crate::kube::watch;

    /// Admission says that a kind has no effect exactly if the model does not read it.
    #[test]
    fn kinds_that_are_watched_have_an_effect() {
        let read: BTreeSet<&str> = watch::KINDS.iter().map(|kind| kind.as_str()).collect();
        let mesh = KINDS.iter().map(|kind| kind.kind);
        let watched: BTreeSet<&str> = mesh.filter(|kind| read.contains(kind)).collect();
        assert_eq!(ACTED_UPON.map(|kind| kind.kind).into(), watched);
    }
}
