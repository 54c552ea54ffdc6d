//! `experimental precheck`: what a cluster lacks, and what changes with an upgrade.

use anyhow::{Context as _, bail};
use clap::Args;
use ironsail_operator::object::KINDS;
use ironsail_operator::values::compatibility;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::ClusterFlags;
use crate::exit::{self, Code};
use crate::output::Format;
use crate::output::style::Style;

/// Oldest minor version of Kubernetes.
const MIN_MINOR: u32 = 32;
/// Oldest minor version whose differences are known.
const OLDEST_MINOR: u32 = 25;
/// Version of the Gateway API that has to be served where its definitions are.
const GATEWAY_API: (&str, &str) = ("gateway.networking.k8s.io", "v1");
/// Kinds of the Gateway API that are needed in that version.
const GATEWAY_KINDS: [&str; 3] = ["GatewayClass", "Gateway", "HTTPRoute"];

#[derive(Args)]
pub struct Flags {
    /// Version of today's control plane, such as 1.28: tells what behaves otherwise.
    #[arg(short, long, value_name = "VERSION")]
    from_version: Option<String>,
    /// Don't look at the cluster.
    #[arg(long)]
    skip_controlplane: bool,
    /// For programs.
    #[arg(short, long)]
    output: Option<Format>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Message {
    code: &'static str,
    level: &'static str,
    origin: String,
    message: String,
}

impl Message {
    /// `Error [IST0142] (Cluster) text`.
    fn line(&self) -> String {
        format!(
            "{} [{}] ({}) {}",
            self.level, self.code, self.origin, self.message
        )
    }
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let mut found = match &self.from_version {
            Some(version) => changed_since(version)?,
            None => Vec::new(),
        };
        if !self.skip_controlplane {
            found.extend(look(&cluster.connect().await?, cluster.istio_namespace()).await?);
        }
        if let Some(format) = self.output {
            print!("{}", format.write(&found)?);
        } else if found.is_empty() {
            let text =
                "No issues found when checking the cluster. It is safe to install or upgrade!";
            println!("{}", Style::of_stdout().good(text));
        } else {
            found
                .iter()
                .for_each(|message| println!("{}", message.line()));
        }
        if !found.is_empty() {
            bail!(
                "issues found when checking the cluster; it may not be safe to install or upgrade"
            );
        }
        Ok(Code::Ok)
    }
}

/// Defaults that changed since a version.
fn changed_since(version: &str) -> anyhow::Result<Vec<Message>> {
    let (major, minor) = version.split_once('.').unwrap_or((version, ""));
    let minor = minor.split('.').next().unwrap_or_default();
    let (Ok(minor), "1") = (minor.parse::<u32>(), major) else {
        let message = format!("--from-version: {version:?} should be like 1.28");
        return Err(exit::usage(message));
    };
    // What is older than the oldest known version has at least its differences.
    let short = format!("1.{}", minor.max(OLDEST_MINOR));
    let Some(changed) = compatibility(&short) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    collect("values", changed, &mut |path, value| {
        found.push(Message {
            code: "IST0168",
            level: "Warning",
            origin: "Cluster".to_owned(),
            message: format!(
                "the default of {path} changed since {short}, where it was {value}; \
                 spec.compatibilityVersion: {short:?} keeps the old ones"
            ),
        });
    });
    Ok(found)
}

fn collect(path: &str, value: &Value, add: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| collect(&format!("{path}.{key}"), value, add)),
        value => add(path, value),
    }
}

async fn look(client: &Client, namespace: &str) -> anyhow::Result<Vec<Message>> {
    let version = client.apiserver_version().await?;
    let mut found: Vec<Message> = old_kubernetes(&version.git_version, &version.minor)
        .into_iter()
        .collect();
    found.extend(missing_rights(client, namespace).await?);
    found.extend(old_gateway_api(client).await?);
    Ok(found)
}

fn old_kubernetes(version: &str, minor: &str) -> Option<Message> {
    // Some providers write 34+.
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let old = digits.parse::<u32>().is_ok_and(|minor| minor < MIN_MINOR);
    old.then(|| Message {
        code: "IST0142",
        level: "Error",
        origin: "Cluster".to_owned(),
        message: format!(
            "Kubernetes {version} is older than 1.{MIN_MINOR}, the oldest that is supported"
        ),
    })
}

/// What this user may not create.
async fn missing_rights(client: &Client, namespace: &str) -> anyhow::Result<Vec<Message>> {
    let rendered = KINDS.iter().filter(|kind| !kind.optional);
    let rendered = rendered.map(|kind| (kind.group, kind.plural, kind.namespaced));
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut found = Vec::new();
    for (group, plural, namespaced) in rendered.chain([("", "namespaces", false)]) {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.to_owned()),
                    resource: Some(plural.to_owned()),
                    verb: Some("create".to_owned()),
                    namespace: namespaced.then(|| namespace.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api
            .create(&PostParams::default(), &review)
            .await
            .context("own rights can't be read")?;
        let status = answer.status.unwrap_or_default();
        if !status.allowed {
            found.push(Message {
                code: "IST0141",
                level: "Error",
                origin: "Cluster".to_owned(),
                message: format!(
                    "missing the right to create {plural}: {}",
                    status.reason.unwrap_or("denied".to_owned())
                ),
            });
        }
    }
    Ok(found)
}

/// Definitions of the Gateway API that are too old.
async fn old_gateway_api(client: &Client) -> anyhow::Result<Vec<Message>> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let all = api
        .list(&ListParams::default())
        .await
        .context("definitions can't be listed")?;
    let (group, version) = GATEWAY_API;
    let own = all.items.iter().filter(|own| {
        own.spec.group == group && GATEWAY_KINDS.contains(&own.spec.names.kind.as_str())
    });
    let old = own.filter(|own| {
        !own.spec
            .versions
            .iter()
            .any(|served| served.served && served.name == version)
    });
    let messages = old.map(|own| Message {
        code: "IST0156",
        level: "Error",
        origin: format!("CustomResourceDefinition {}", own.name_any()),
        message: format!("the definition does not serve {version}, which is needed"),
    });
    Ok(messages.collect())
}

#[cfg(test)]
mod tests {
    use ironsail_operator::testing::FakeServer;
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_since_a_version_are_listed() {
        let found = changed_since("1.30").expect("a version");
        let paths: Vec<&str> = found
            .iter()
            .filter_map(|message| message.message.split(' ').nth(3))
            .collect();
        assert!(
            paths.contains(&"values.pilot.env.PILOT_ENABLE_STRICT_GATEWAY_MERGING"),
            "{paths:?}"
        );
        assert!(
            found[0]
                .line()
                .starts_with("Warning [IST0168] (Cluster) the default of values.pilot.env."),
            "{found:?}"
        );
        assert_eq!(
            changed_since("1.28.3").expect("a version"),
            changed_since("1.28").expect("a version")
        );
        assert_eq!(
            changed_since("1.5").expect("a version"),
            changed_since("1.25").expect("a version")
        );
        assert_ne!(changed_since("1.25").expect("a version"), []);
        assert_eq!(changed_since("1.32").expect("this version"), []);
        assert_eq!(
            exit::code(&changed_since("2.0").expect_err("none")),
            Code::Usage
        );
    }

    #[tokio::test]
    async fn a_cluster_is_looked_at() {
        let server = FakeServer::default();
        let definition = |name: &str, kind: &str, version: &str| {
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{name}.gateway.networking.k8s.io")},
                "spec": {"group": "gateway.networking.k8s.io", "scope": "Namespaced",
                    "names": {"kind": kind, "plural": name},
                    "versions": [{"name": version, "served": true, "storage": true}]},
            })
        };
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        server.put(
            definitions,
            definition("httproutes", "HTTPRoute", "v1alpha2"),
        );
        server.put(definitions, definition("gateways", "Gateway", "v1"));
        // The server has no answer about rights, which counts as a refusal.
        let found = look(&server.client(), "istio-system")
            .await
            .expect("answers");
        let count = |code: &str| found.iter().filter(|message| message.code == code).count();
        let rights = KINDS.iter().filter(|kind| !kind.optional).count() + 1;
        assert_eq!(
            (count("IST0141"), count("IST0142"), count("IST0156")),
            (rights, 0, 1)
        );
        let old = found
            .iter()
            .find(|message| message.code == "IST0156")
            .expect("found");
        assert_eq!(
            old.origin,
            "CustomResourceDefinition httproutes.gateway.networking.k8s.io"
        );
    }

    #[test]
    fn kubernetes_versions() {
        assert_eq!(old_kubernetes("v1.34.0", "34"), None);
        assert_eq!(old_kubernetes("v1.34.0-gke.1", "34+"), None);
        let old = old_kubernetes("v1.28.1", "28").expect("old");
        assert_eq!(
            old.line(),
            "Error [IST0142] (Cluster) Kubernetes v1.28.1 is older than 1.32, the oldest that is supported"
        );
    }
}
