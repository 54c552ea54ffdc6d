//! `manifest generate`: the objects of a mesh, in the order in which they are applied.

use std::path::PathBuf;

use clap::Args;
use ironsail_operator::component::Component;
use ironsail_operator::object::Manifest;
use ironsail_operator::{Context, Rendered};

use crate::cluster::ClusterFlags;
use crate::exit::{self, Code};
use crate::input::{self, ImageFlags, SpecFlags, Validation};
use crate::output::stream;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    images: ImageFlags,
    /// Folder to write one file per component into.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Go on in spite of validation errors.
    #[arg(long)]
    force: bool,
    /// Render for the version and platform of the cluster.
    #[arg(long)]
    cluster_specific: bool,
    /// Only these components.
    #[arg(long, hide = true, value_delimiter = ',')]
    filter: Vec<String>,
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let mut context = self.images.context();
        if self.cluster_specific {
            let version = cluster.connect().await?.apiserver_version().await?;
            context.kubernetes_version = version.git_version;
        }
        let rendered = self.render(&context)?;
        match &self.output {
            Some(folder) => {
                for component in Component::ALL {
                    let text = text(&rendered, |object| object.component == component)?;
                    if !text.is_empty() {
                        input::write(folder, &format!("{component}.yaml"), &text)?;
                    }
                }
            }
            None => print!("{}", text(&rendered, |_| true)?),
        }
        Ok(Code::Ok)
    }

    fn render(&self, context: &Context) -> anyhow::Result<Rendered> {
        let validation = match self.force {
            true => Validation::Warn,
            false => Validation::Enforce,
        };
        let mut rendered = input::rendered(&self.spec.object()?, context, validation)?;
        if !self.filter.is_empty() {
            let wanted = components(&self.filter)?;
            rendered
                .objects
                .retain(|object| wanted.contains(&object.component));
        }
        Ok(rendered)
    }
}

fn components(names: &[String]) -> anyhow::Result<Vec<Component>> {
    let find = |name: &String| {
        let known = Component::ALL
            .into_iter()
            .find(|own| own.as_str().eq_ignore_ascii_case(name));
        known.ok_or_else(|| exit::usage(format!("--filter: there is no component {name:?}")))
    };
    names.iter().map(find).collect()
}

fn text(rendered: &Rendered, wanted: impl Fn(&Manifest) -> bool) -> anyhow::Result<String> {
    let bodies: Vec<_> = rendered
        .objects
        .iter()
        .filter(|object| wanted(object))
        .map(Manifest::body)
        .collect();
    stream(bodies.iter().map(AsRef::as_ref))
}

#[cfg(test)]
mod tests {
    use ironsail_operator::testing::reference;

    use super::*;

    fn generated(settings: &[&str], filter: &[&str]) -> String {
        generated_with(&Context::default(), settings, filter)
    }

    fn generated_with(context: &Context, settings: &[&str], filter: &[&str]) -> String {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let flags = Flags {
            spec: SpecFlags {
                set: texts(settings),
                ..SpecFlags::default()
            },
            images: ImageFlags::default(),
            output: None,
            force: false,
            cluster_specific: false,
            filter: texts(filter),
        };
        let rendered = flags.render(context).expect("valid");
        text(&rendered, |_| true).expect("YAML")
    }

    fn names(text: &str) -> Vec<String> {
        let documents = input::documents(text).expect("YAML");
        let name = |object: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            format!(
                "{} {}",
                text(&object["kind"]),
                text(&object["metadata"]["name"])
            )
        };
        documents.iter().map(name).collect()
    }

    #[test]
    fn two_runs_print_the_same_bytes() {
        assert_eq!(
            generated(&["profile=demo"], &[]),
            generated(&["profile=demo"], &[])
        );
    }

    #[test]
    fn what_is_printed_is_what_the_peer_prints() {
        for profile in ["default", "demo"] {
            reference::check(profile, |context| {
                let text = generated_with(context, &[&format!("profile={profile}")], &[]);
                input::documents(&text).expect("YAML")
            });
        }
    }

    #[test]
    fn components_follow_the_profile() {
        let has = |profile: &str, name: &str| {
            names(&generated(&[&format!("profile={profile}")], &[]))
                .iter()
                .any(|own| own == name)
        };
        let (istiod, ingress, egress) = (
            "Deployment istiod",
            "Deployment istio-ingressgateway",
            "Deployment istio-egressgateway",
        );
        for (profile, expected) in [
            ("default", [true, true, false]),
            ("demo", [true, true, true]),
            ("minimal", [true, false, false]),
            ("preview", [true, true, false]),
            ("empty", [false, false, false]),
        ] {
            let found = [istiod, ingress, egress].map(|name| has(profile, name));
            assert_eq!(found, expected, "{profile}");
        }
    }

    #[test]
    fn filters_name_components() {
        let text = generated(&[], &["ingressgateways"]);
        assert!(
            names(&text)
                .iter()
                .all(|name| name.contains("istio-ingressgateway")),
            "{text}"
        );
        let error = components(&["nobody".to_owned()]).expect_err("no such component");
        assert_eq!(exit::code(&error), Code::Usage);
    }
}
