//! `verify-install`: whether everything is there and works.

use anyhow::bail;
use clap::Args;
use ironsail_operator::Context;
use ironsail_operator::count::counted;
use ironsail_operator::object::Manifest;
use ironsail_operator::plan::{Owner, Plan, record, store};
use ironsail_operator::verify::{Verdict, verify};
use kube::Client;

use super::plan;
use crate::cluster::ClusterFlags;
use crate::exit::Code;
use crate::input::{self, ImageFlags, SpecFlags, Validation};
use crate::meshes::operators;
use crate::output::style::Style;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    images: ImageFlags,
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let client = cluster.connect().await?;
        let object = self.spec.object()?;
        let owner = input::owner(&object, cluster);
        let described = !self.spec.filename.is_empty() || !self.spec.set.is_empty();
        if !described {
            let installed = self.installed(&client, &owner.namespace).await?;
            if !installed.is_empty() {
                return check(&client, &installed).await;
            }
        }
        let context: Context = plan::context(&self.images, Some(&client)).await?;
        let fresh = plan::fresh(&object, &context, Validation::Enforce)?;
        check(&client, &fresh.plan.desired(&owner, &fresh.definitions)).await
    }

    /// Objects of the plans that operators of the cluster accepted, and of installations that no
    /// operator has taken over since.
    async fn installed(&self, client: &Client, namespace: &str) -> anyhow::Result<Vec<Manifest>> {
        let mut plans: Vec<(Owner, Plan)> = Vec::new();
        for owner in operators(client).await? {
            let Some(accepted) = store::load(client, &owner).await? else {
                bail!("IstioOperator {owner} has no accepted plan yet");
            };
            plans.push((owner, accepted.plan));
        }
        for record in record::list(client, namespace).await? {
            let taken = |(_, plan): &(Owner, Plan)| plan.is_same_control_plane(&record.plan);
            if !plans.iter().any(taken) {
                plans.push((record.owner, record.plan));
            }
        }
        let revision = self.spec.revision.as_deref();
        plans.retain(|(_, plan)| revision.is_none_or(|own| own == plan.revision));
        let objects = plans.iter().map(|(owner, plan)| plan.desired(owner, &[]));
        Ok(objects.flatten().collect())
    }
}

/// Prints a line per object, and fails if one is not as it should be.
pub async fn check(client: &Client, objects: &[Manifest]) -> anyhow::Result<Code> {
    let verdicts = verify(client, objects).await?;
    let (text, wrong) = report(&verdicts, Style::of_stdout());
    print!("{text}");
    if wrong > 0 {
        bail!(
            "not as it should be: {wrong} of {}",
            counted(verdicts.len(), "object")
        );
    }
    Ok(Code::Ok)
}

/// The lines, and how many objects are wrong.
fn report(verdicts: &[Verdict], style: Style) -> (String, usize) {
    let mut text = String::new();
    for verdict in verdicts {
        let line = match &verdict.problem {
            None => style.good(&verdict.object.to_string()),
            Some(problem) => style.bad(&format!("{}: {problem}", verdict.object)),
        };
        text.push_str(&line);
        text.push('\n');
    }
    let wrong = verdicts
        .iter()
        .filter(|verdict| verdict.problem.is_some())
        .count();
    if wrong == 0 {
        text.push_str(&format!(
            "Installed and ready: {}\n",
            counted(verdicts.len(), "object")
        ));
    }
    (text, wrong)
}

#[cfg(test)]
mod tests {
    use ironsail_operator::testing::FakeServer;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn every_object_has_its_line() {
        let server = FakeServer::default();
        let fresh = plan::fresh(
            &json!({"kind": "IstioOperator", "spec": {}}),
            &Context::default(),
            Validation::Enforce,
        );
        let objects = fresh.expect("valid").plan.objects;
        let verdicts = verify(&server.client(), &objects).await.expect("answers");
        let (text, wrong) = report(&verdicts, Style::default());
        assert_eq!(wrong, objects.len());
        assert!(
            text.contains("✘ Deployment istio-system/istiod: not found\n"),
            "{text}"
        );
        let ready: Vec<Verdict> = verdicts
            .into_iter()
            .map(|v| Verdict { problem: None, ..v })
            .collect();
        let (text, wrong) = report(&ready, Style::default());
        assert!(
            wrong == 0 && text.contains("✔ Deployment istio-system/istiod\n"),
            "{text}"
        );
    }
}
