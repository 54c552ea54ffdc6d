//! `adopt`: taking over what is installed already.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use ironsail_operator::Context;
use ironsail_operator::adopt::export::{self, export};
use ironsail_operator::adopt::live::Release;
use ironsail_operator::adopt::release;
use kube::Client;

use super::plan;
use crate::cluster::ClusterFlags;
use crate::exit::Code;
use crate::input::ImageFlags;

#[derive(Args)]
#[command(group = ArgGroup::new("action").required(true).args(["from_cluster", "finish"]))]
pub struct Flags {
    /// Write an IstioOperator of what is installed; applying it takes that over as it is.
    #[arg(long)]
    from_cluster: bool,
    /// Hide the records of Helm releases that were taken over, where the operator may not.
    #[arg(long)]
    finish: bool,
    /// File to write; default is standard output.
    #[arg(short, long, value_name = "FILE", requires = "from_cluster")]
    output: Option<PathBuf>,
    /// Revision of the control plane, where there are several; default for the one without a name.
    #[arg(short, long, requires = "from_cluster")]
    revision: Option<String>,
    #[command(flatten)]
    images: ImageFlags,
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let client = cluster.connect().await?;
        if self.finish {
            let hidden = release::finish(&client).await?;
            print!("{}", finished(&hidden));
            return Ok(Code::Ok);
        }
        let context = plan::context(&self.images, Some(&client)).await?;
        let text = written(&client, self.revision.as_deref(), &context).await?;
        match &self.output {
            Some(path) if path.as_os_str() != "-" => {
                std::fs::write(path, text).with_context(|| path.display().to_string())?;
            }
            _ => print!("{text}"),
        }
        Ok(Code::Ok)
    }
}

async fn written(
    client: &Client,
    revision: Option<&str>,
    context: &Context,
) -> anyhow::Result<String> {
    let installed = export::observe(client).await?;
    let revision = match revision {
        Some("default") => Some(""),
        other => other,
    };
    Ok(export::yaml(&export(&installed, revision, context)?))
}

fn finished(hidden: &[Release]) -> String {
    if hidden.is_empty() {
        return "Helm lists no release that was taken over.\n".to_owned();
    }
    hidden
        .iter()
        .map(|release| format!("Helm no longer lists the release {release}.\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use ironsail_operator::object::Manifest;
    use ironsail_operator::render;
    use ironsail_operator::testing::{FakeServer, Installer};
    use serde_json::{Value, json};

    use super::*;

    /// Releases of stock images, as charts leave them.
    pub fn installed() -> FakeServer {
        let server = FakeServer::default();
        let context = Context {
            hub: "docker.io/istio".into(),
            tag: "1.32.0".into(),
            ..Context::default()
        };
        let rendered = render(&json!({"profile": "minimal"}), &context).expect("valid");
        let objects: Vec<Manifest> = rendered
            .objects
            .into_iter()
            .filter(|object| !object.is_definition())
            .collect();
        server.install_by(&Installer::helm("istio-system", "istiod"), &objects);
        server
    }

    #[tokio::test]
    async fn what_is_installed_is_written_and_nothing_else() {
        let server = installed();
        let text = written(&server.client(), Some("default"), &Context::default()).await;
        let text = text.expect("one control plane");
        assert!(
            text.contains("# Helm releases in the cluster: istio-system/istiod\n"),
            "{text}"
        );
        let object: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        assert_eq!(
            object["spec"],
            json!({"hub": "docker.io/istio", "tag": "1.32.0",
                "components": {"ingressGateways": []}})
        );
        assert_eq!(server.take_writes(), []);
        let none = FakeServer::default();
        let error = written(&none.client(), None, &Context::default()).await;
        assert_eq!(
            error.expect_err("nothing").to_string(),
            "there is no control plane"
        );
    }

    #[test]
    fn what_was_hidden_is_said() {
        let release = Release {
            namespace: "edge".into(),
            name: "gateway".into(),
        };
        assert_eq!(
            finished(&[release]),
            "Helm no longer lists the release edge/gateway.\n"
        );
        assert_eq!(
            finished(&[]),
            "Helm lists no release that was taken over.\n"
        );
    }
}
