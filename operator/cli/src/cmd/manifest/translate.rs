//! `manifest translate`: an IstioOperator as values of the peer's Helm charts.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use ironsail_operator::object::Manifest;
use ironsail_operator::values::helm::{Release, Releases, releases};

use crate::exit::Code;
use crate::input::{self, ImageFlags, SpecFlags, Validation};
use crate::output::Format;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    images: ImageFlags,
    /// Folder to write values, scripts and instructions into; without it values go to standard output.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

const CHARTS: &str = "https://istio-release.storage.googleapis.com/charts";

impl Flags {
    pub fn run(&self) -> anyhow::Result<Code> {
        let object = self.spec.object()?;
        let context = self.images.context();
        let rendered = input::rendered(&object, &context, Validation::Enforce)?;
        let found = context
            .of_object(&object)
            .map_err(|finding| vec![finding])
            .and_then(|context| releases(&object["spec"], &context));
        let found = found.map_err(|findings| input::refused(&findings))?;
        let Some(folder) = &self.output else {
            print!("{}", text(&found)?);
            return Ok(Code::Ok);
        };
        for release in &found.releases {
            let chart = release.chart;
            input::write(
                folder,
                &format!("{chart}-values.yaml"),
                &Format::Yaml.write(&release.values)?,
            )?;
            input::write(
                folder,
                &format!("install-{chart}.sh"),
                &script(release, &rendered.objects),
            )?;
        }
        input::write(folder, "README.md", &instructions(&found))?;
        println!(
            "Written to {}; README.md there says what to do.",
            folder.display()
        );
        Ok(Code::Ok)
    }
}

/// Values of all releases, and what is left out.
fn text(found: &Releases) -> anyhow::Result<String> {
    let mut text = String::new();
    for release in &found.releases {
        let (chart, namespace) = (release.chart, &release.namespace);
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "---\n# helm upgrade --install {chart} --namespace {namespace}\n"
        );
        text.push_str(&Format::Yaml.write(&release.values)?);
    }
    for path in &found.untranslated {
        let _ = writeln!(text, "# not translated: {path}");
    }
    Ok(text)
}

/// Hands the component's objects to Helm, and lets it install them.
fn script(release: &Release, objects: &[Manifest]) -> String {
    let (chart, namespace) = (release.chart, &release.namespace);
    let mut text = "#!/usr/bin/env bash\nset -eu\n\n# Helm takes over only what says that it belongs to the release.\n".to_owned();
    for object in objects
        .iter()
        .filter(|object| object.component == release.component)
    {
        let kind = object.kind();
        let resource = match kind.group {
            "" => kind.plural.to_owned(),
            group => format!("{}.{group}", kind.plural),
        };
        let place = match object.namespace() {
            "" => String::new(),
            namespace => format!(" --namespace {namespace}"),
        };
        let name = object.name();
        let _ = writeln!(
            text,
            "kubectl annotate --overwrite {resource} {name}{place} meta.helm.sh/release-name={chart} \
             meta.helm.sh/release-namespace={namespace}\n\
             kubectl label --overwrite {resource} {name}{place} app.kubernetes.io/managed-by=Helm"
        );
    }
    let _ = writeln!(
        text,
        "\nhelm upgrade --install {chart} {chart} --repo {CHARTS} --namespace {namespace} --values {chart}-values.yaml"
    );
    text
}

fn instructions(found: &Releases) -> String {
    let mut text =
        "# From an IstioOperator to Helm\n\nRun the scripts in this order:\n\n".to_owned();
    for release in &found.releases {
        let chart = release.chart;
        let _ = writeln!(
            text,
            "1. `install-{chart}.sh`, which installs `{chart}-values.yaml`"
        );
    }
    if !found.untranslated.is_empty() {
        text.push_str("\nNo chart has a value for these settings; gateways have a chart of their own with other names:\n\n");
        for path in &found.untranslated {
            let _ = writeln!(text, "- `{path}`");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use ironsail_operator::{Context, render};
    use serde_json::json;

    use super::*;

    #[test]
    fn scripts_hand_over_every_object() {
        let spec = json!({"profile": "minimal"});
        let rendered = render(&spec, &Context::default()).expect("valid");
        let found = releases(&spec, &Context::default()).expect("valid");
        let istiod = found
            .releases
            .iter()
            .find(|release| release.chart == "istiod")
            .expect("on");
        let script = script(istiod, &rendered.objects);
        assert!(
            script.contains(
                "kubectl label --overwrite deployments.apps istiod --namespace istio-system app"
            ),
            "{script}"
        );
        assert!(
            script.ends_with("--namespace istio-system --values istiod-values.yaml\n"),
            "{script}"
        );
        let own = rendered
            .objects
            .iter()
            .filter(|object| object.component == istiod.component)
            .count();
        assert_eq!(script.matches("kubectl annotate").count(), own);
    }

    #[test]
    fn what_is_left_out_is_named() {
        let spec = json!({"components": {"pilot": {"k8s": {"overlays": []}}}});
        let found = releases(&spec, &Context::default()).expect("valid");
        let text = text(&found).expect("YAML");
        assert!(
            text.contains("# not translated: spec.components.pilot.k8s.overlays\n"),
            "{text}"
        );
        assert!(
            instructions(&found).contains("- `spec.components.ingressGateways[0]`"),
            "{text}"
        );
    }
}
