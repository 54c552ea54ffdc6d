//! `operator`: the operator of a cluster itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use ironsail_operator::bundle;
use ironsail_operator::events::operator_resource;
use ironsail_operator::plan::Owner;
use ironsail_operator::setup::{Setup, apply_operator};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject};
use tokio::time::{Instant, sleep};

use crate::cluster::{ClusterFlags, parse_duration};
use crate::exit::Code;
use crate::input::{ImageFlags, SpecFlags};
use crate::meshes::operators;
use crate::output::ask::confirm;
use crate::output::style::Style;
use crate::output::{Format, stream};

const PAUSE: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub enum Command {
    /// Install the operator, and wait until it runs.
    Init(InitFlags),
    /// Print the manifest of the operator.
    Dump(DumpFlags),
    /// Remove the operator; meshes stay as they are.
    Remove(RemoveFlags),
}

/// Which operator.
#[derive(Args, Clone)]
pub struct OperatorFlags {
    #[command(flatten)]
    images: ImageFlags,
    /// Secrets to pull the operator's image with.
    #[arg(
        long = "imagePullSecrets",
        value_delimiter = ',',
        value_name = "SECRETS"
    )]
    image_pull_secrets: Vec<String>,
    /// Namespaces whose IstioOperators are reconciled.
    #[arg(
        long = "watchedNamespaces",
        value_delimiter = ',',
        default_value = "istio-system",
        value_name = "NAMESPACES"
    )]
    watched_namespaces: Vec<String>,
    /// Namespace of the operator.
    #[arg(long = "operatorNamespace", default_value = bundle::NAME, value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Accepted for scripts; charts and profiles are built in.
    #[arg(short = 'd', long, hide = true, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

#[derive(Args)]
pub struct InitFlags {
    #[command(flatten)]
    operator: OperatorFlags,
    /// IstioOperator to apply when the operator runs.
    #[arg(short, long, value_delimiter = ',', value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// How long the operator may take to become ready.
    #[arg(long, default_value = "300s", value_parser = parse_duration, value_name = "DURATION")]
    readiness_timeout: Duration,
    /// Print what would be applied, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct DumpFlags {
    #[command(flatten)]
    operator: OperatorFlags,
    /// Form of the manifest.
    #[arg(short, long, default_value = "yaml")]
    output: Format,
}

#[derive(Args)]
pub struct RemoveFlags {
    /// Namespace of the operator.
    #[arg(long = "operatorNamespace", default_value = bundle::NAME, value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Remove all meshes of IstioOperators too, and the definition of IstioOperator.
    #[arg(long)]
    purge: bool,
    /// Accepted for scripts.
    #[arg(long, hide = true)]
    force: bool,
    /// Answer yes.
    #[arg(short = 'y', long)]
    skip_confirmation: bool,
    /// How long the operator may take to finish.
    #[arg(long, default_value = "120s", value_parser = parse_duration, value_name = "DURATION")]
    timeout: Duration,
}

impl OperatorFlags {
    fn setup(&self) -> Setup {
        Setup {
            context: self.images.context(),
            namespace: self.operator_namespace.clone(),
            watched: self
                .watched_namespaces
                .iter()
                .filter(|name| !name.is_empty())
                .cloned()
                .collect(),
            pull_secrets: self.image_pull_secrets.clone(),
        }
    }
}

impl Command {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        match self {
            Self::Init(flags) => flags.run(cluster).await?,
            Self::Dump(flags) => print!("{}", flags.text()?),
            Self::Remove(flags) => flags.run(cluster).await?,
        }
        Ok(Code::Ok)
    }
}

impl InitFlags {
    async fn run(&self, cluster: &ClusterFlags) -> anyhow::Result<()> {
        let setup = self.operator.setup();
        let object = match self.filename.is_empty() {
            true => None,
            false => {
                let files = SpecFlags {
                    filename: self.filename.clone(),
                    ..SpecFlags::default()
                };
                Some(files.object()?)
            }
        };
        if self.dry_run {
            print!("{}", stream(setup.documents().iter().chain(&object))?);
            return Ok(());
        }
        let client = cluster.connect().await?;
        let style = Style::of_stdout();
        println!(
            "Installing the operator {}/operator:{}",
            setup.context.hub, setup.context.tag
        );
        setup.apply(&client, self.readiness_timeout).await?;
        println!(
            "{}",
            style.good(&format!(
                "The operator runs in the namespace {}",
                setup.namespace
            ))
        );
        if let Some(object) = object {
            apply_operator(&client, &object).await?;
            println!("{}", style.good("The IstioOperator is applied"));
        }
        Ok(())
    }
}

impl DumpFlags {
    fn text(&self) -> anyhow::Result<String> {
        let setup = self.operator.setup();
        let plain = Setup {
            context: setup.context.clone(),
            ..Setup::default()
        };
        match self.output {
            // With its comments.
            Format::Yaml if setup == plain => Ok(bundle::manifest(&setup.context)),
            Format::Yaml => Ok(setup.manifest()),
            Format::Json => {
                let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": setup.documents()});
                Format::Json.write(&list)
            }
        }
    }
}

impl RemoveFlags {
    async fn run(&self, cluster: &ClusterFlags) -> anyhow::Result<()> {
        let client = cluster.connect().await?;
        let meshes = operators(&client).await?;
        let names: Vec<String> = meshes.iter().map(ToString::to_string).collect();
        match (names.is_empty(), self.purge) {
            (true, _) => {}
            (false, true) => println!("These meshes will be removed:\n  {}", names.join("\n  ")),
            (false, false) => println!(
                "These meshes stay, and nobody will reconcile them:\n  {}",
                names.join("\n  ")
            ),
        }
        if !self.skip_confirmation {
            confirm("This will remove the operator from the cluster.")?;
        }
        let style = Style::of_stdout();
        if self.purge {
            self.remove_meshes(&client, meshes).await?;
        }
        let setup = Setup {
            namespace: self.operator_namespace.clone(),
            ..Setup::default()
        };
        setup.remove(&client, self.timeout).await?;
        if self.purge {
            setup.remove_definition(&client).await?;
        }
        println!("{}", style.good("Removal complete"));
        Ok(())
    }

    /// Deletes all IstioOperators, and waits until their operator has finished.
    async fn remove_meshes(&self, client: &Client, found: Vec<Owner>) -> anyhow::Result<()> {
        for mesh in &found {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), &mesh.namespace, &operator_resource());
            match api.delete(&mesh.name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(answer)) if answer.code == 404 => {}
                Err(error) => return Err(error).with_context(|| mesh.to_string()),
            }
        }
        let begin = Instant::now();
        while let Some(first) = operators(client).await?.first() {
            if begin.elapsed() >= self.timeout {
                bail!(
                    "IstioOperator {first} is not removed after {:?}",
                    self.timeout
                );
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::input;

    fn dumped(arguments: &[&str]) -> String {
        let words = ["ironsail", "operator", "dump"].iter().chain(arguments);
        let program = crate::Program::try_parse_from(words).expect("valid");
        match program.command {
            crate::cmd::Command::Operator(Command::Dump(flags)) => {
                flags.text().expect("a manifest")
            }
            _ => panic!("another command"),
        }
    }

    #[test]
    fn a_dump_is_the_operators_own() {
        let images = ["--hub", "example.com/mesh", "--tag", "7"];
        let context = ironsail_operator::Context {
            hub: "example.com/mesh".into(),
            tag: "7".into(),
            ..ironsail_operator::Context::default()
        };
        assert_eq!(dumped(&images), bundle::manifest(&context));
        let moved = dumped(&["--operatorNamespace", "ops", "--watchedNamespaces", "a,b"]);
        let documents = input::documents(&moved).expect("YAML");
        assert!(
            documents
                .iter()
                .any(|d| d["kind"] == "Namespace" && d["metadata"]["name"] == "ops")
        );
        let list: serde_json::Value = serde_json::from_str(&dumped(&["-o", "json"])).expect("JSON");
        assert_eq!(list["kind"], "List");
    }
}
