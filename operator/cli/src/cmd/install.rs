//! `install` and `upgrade`: what the operator does for an IstioOperator, once and from here.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use ironsail_mesh::VERSION;
use ironsail_operator::apply::selector::{RECREATE, consents};
use ironsail_operator::install::Install;
use ironsail_operator::plan::{Fresh, Owner, record, store};
use ironsail_operator::value::text;
use kube::Client;
use serde_json::Value;

use super::{plan, verify_install};
use crate::cluster::{ClusterFlags, parse_duration};
use crate::exit::Code;
use crate::input::{self, ImageFlags, SpecFlags, Validation};
use crate::meshes::operators;
use crate::output::ask::confirm;
use crate::output::progress::Progress;
use crate::output::style::Style;
use crate::pods;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    images: ImageFlags,
    /// Answer yes.
    #[arg(short = 'y', long)]
    skip_confirmation: bool,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Go on in spite of validation errors, and where an operator reconciles the same.
    #[arg(long)]
    force: bool,
    /// Check every object at the end.
    #[arg(long)]
    verify: bool,
    /// How long a component may take to become ready.
    #[arg(long, default_value = "300s", value_parser = parse_duration, value_name = "DURATION")]
    readiness_timeout: Duration,
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let object = self.spec.object()?;
        let client = cluster.connect().await?;
        // The images of an operator that is there are not asked for: it leaves this mesh alone.
        let context = plan::own_context(&self.images, &client).await?;
        let validation = match self.force {
            true => Validation::Warn,
            false => Validation::Enforce,
        };
        let fresh = plan::fresh(&object, &context, validation)?;
        let owner = input::owner(&object, cluster);
        if !self.force {
            leave_to_operator(&client, &owner, &fresh).await?;
        }
        plan::warn_of_network(&client, &fresh.plan).await;
        if self.dry_run {
            let replaced = record::replaced(&client, &owner, &fresh.plan).await?;
            let effect = plan::effect_of(&client, &owner, &replaced, &fresh).await?;
            print!("{}", plan::effect_text(&effect, Style::of_stdout()));
            return Ok(Code::Ok);
        }
        warn_of_versions(&client, &fresh).await?;
        if !self.skip_confirmation {
            confirm(&question(&object))?;
        }
        let recreate = text(&object, &["metadata", "annotations", RECREATE]);
        let recreate = consents(recreate.unwrap_or_default());
        self.install(&client, &owner, &fresh, &recreate).await?;
        match self.verify {
            true => {
                verify_install::check(&client, &fresh.plan.desired(&owner, &fresh.definitions))
                    .await
            }
            false => Ok(Code::Ok),
        }
    }

    async fn install(
        &self,
        client: &Client,
        owner: &Owner,
        fresh: &Fresh,
        recreate: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let install = Install {
            client,
            owner,
            fresh,
            limit: self.readiness_timeout,
            recreate,
        };
        let mut progress = Progress::of_stdout();
        let outcome = install.run(|rollout| progress.show(rollout)).await;
        progress.clear();
        let style = Style::of_stdout();
        for key in &outcome? {
            println!("{}", style.good(&format!("{key} removed")));
        }
        println!("{}", style.good("Installation complete"));
        Ok(())
    }
}

/// An operator would undo or repeat what is done here.
async fn leave_to_operator(client: &Client, owner: &Owner, fresh: &Fresh) -> anyhow::Result<()> {
    for operator in operators(client).await? {
        let accepted = store::load(client, &operator).await?;
        let same = accepted.is_some_and(|accepted| {
            let (theirs, ours) = (&accepted.plan, &fresh.plan);
            theirs.revision == ours.revision && theirs.istio_namespace == ours.istio_namespace
        });
        if same || operator == *owner {
            bail!(
                "IstioOperator {operator} is in the cluster, and its operator does this: use kubectl \
                 apply, or --force to go on"
            );
        }
    }
    Ok(())
}

fn question(object: &Value) -> String {
    let profile = text(object, &["spec", "profile"]).unwrap_or("default");
    format!("This will install Ironsail {VERSION} with the profile {profile:?} into the cluster.")
}

/// Says which version is replaced.
async fn warn_of_versions(client: &Client, fresh: &Fresh) -> anyhow::Result<()> {
    let running = pods::control_planes(client, &fresh.plan.istio_namespace).await?;
    let images = fresh
        .plan
        .objects
        .iter()
        .filter(|object| object.kind().kind == "Deployment");
    let new = images
        .filter(|object| object.name().starts_with("istiod"))
        .find_map(|object| {
            let body = object.body();
            let image = body
                .pointer("/spec/template/spec/containers/0/image")?
                .as_str()?;
            Some(pods::tag(image).to_owned())
        });
    let own = running
        .iter()
        .filter(|pod| pod.revision == fresh.plan.revision);
    let mut old: Vec<&str> = own.map(|pod| pod.version.as_str()).collect();
    old.sort_unstable();
    old.dedup();
    if let Some(new) = new
        && old.iter().any(|old| *old != new)
    {
        let old = old.join(", ");
        eprintln!(
            "Warning: the control plane changes from {old} to {new}; ironsail x precheck says what to look at"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ironsail_operator::Context;
    use ironsail_operator::plan::store::Accepted;
    use ironsail_operator::testing::FakeServer;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_operators_mesh_is_left_to_it() {
        let server = FakeServer::default();
        let client = server.client();
        let owner = |name: &str| Owner {
            namespace: "istio-system".into(),
            name: name.into(),
        };
        let fresh = |revision: &str| {
            let object = json!({"kind": "IstioOperator", "spec": {"revision": revision}});
            plan::fresh(&object, &Context::default(), Validation::Enforce).expect("valid")
        };
        leave_to_operator(&client, &owner("mesh"), &fresh(""))
            .await
            .expect("nobody's");
        let object = json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": {"name": "mesh", "namespace": "istio-system"}});
        server.put(
            "/apis/install.istio.io/v1alpha1/namespaces/istio-system/istiooperators",
            object,
        );
        let error = leave_to_operator(&client, &owner("mesh"), &fresh(""))
            .await
            .expect_err("the operator's");
        assert!(error.to_string().contains("kubectl apply"), "{error}");
        leave_to_operator(&client, &owner("other"), &fresh(""))
            .await
            .expect("not installed yet");
        let accepted = Accepted {
            plan: fresh("").plan,
            rolled_out: true,
            replaced: false,
        };
        store::record(&client, &owner("mesh"), &accepted)
            .await
            .expect("stored");
        let error = leave_to_operator(&client, &owner("other"), &fresh(""))
            .await
            .expect_err("the same revision");
        assert!(error.to_string().contains("istio-system/mesh"), "{error}");
        leave_to_operator(&client, &owner("other"), &fresh("canary"))
            .await
            .expect("another revision");
    }

    #[test]
    fn the_question_names_version_and_profile() {
        let object = json!({"spec": {"profile": "demo"}});
        let expected = format!(
            "This will install Ironsail {VERSION} with the profile \"demo\" into the cluster."
        );
        assert_eq!(question(&object), expected);
    }
}
