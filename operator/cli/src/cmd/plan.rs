//! `plan`: what applying an IstioOperator would do, before anybody does it.

use std::collections::BTreeSet;

use clap::Args;
use ironsail_operator::adopt::contact::{Contact, Stranger};
use ironsail_operator::count::counted;
use ironsail_operator::network::Network;
use ironsail_operator::plan::live::{Effect, effect};
use ironsail_operator::plan::{Fresh, Owner, Plan, store};
use ironsail_operator::{Context, bundle};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::ClusterFlags;
use crate::exit::Code;
use crate::input::{self, ImageFlags, SpecFlags, Validation};
use crate::output::style::{Paint, Style};
use crate::output::{Format, changes};

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    images: ImageFlags,
    /// Compare with a cluster; default if one is configured.
    #[arg(short = 'k', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    use_kube: Option<bool>,
    /// For programs.
    #[arg(short, long)]
    output: Option<Format>,
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let live = match self.use_kube {
            Some(wanted) => wanted,
            None => cluster.is_configured().await,
        };
        let client = match live {
            true => Some(cluster.connect().await?),
            false => None,
        };
        let object = self.spec.object()?;
        let context = context(&self.images, client.as_ref()).await?;
        let fresh = fresh(&object, &context, Validation::Enforce)?;
        let owner = input::owner(&object, cluster);
        if let Some(client) = &client {
            warn_of_network(client, &fresh.plan).await;
        }
        if let Some(client) = &client
            && let Some(adopted) = adopted(client, &owner, &object, &fresh.plan).await?
        {
            match self.output {
                Some(format) => print!("{}", format.write(&document(&adopted, &owner, None))?),
                None => print!("{}", adoption_text(&adopted, &owner)),
            }
            return Ok(Code::Ok);
        }
        let effect = match &client {
            Some(client) => Some(effect_of(client, &owner, &BTreeSet::new(), &fresh).await?),
            None => None,
        };
        match self.output {
            Some(format) => print!(
                "{}",
                format.write(&document(&fresh.plan, &owner, effect.as_ref()))?
            ),
            None => print!(
                "{}",
                text(&fresh.plan, &owner, effect.as_ref(), Style::of_stdout())
            ),
        }
        Ok(match effect {
            Some(effect) if !effect.is_empty() => Code::Differs,
            _ => Code::Ok,
        })
    }
}

/// The plan that an operator makes of an object.
pub fn fresh(object: &Value, context: &Context, validation: Validation) -> anyhow::Result<Fresh> {
    let rendered = input::rendered(object, context, validation)?;
    let era = context.of_object(object).map(|context| context.list_merge);
    let asked = era.unwrap_or_default().asked(&object["spec"]);
    Ok(Fresh::new(rendered, &asked))
}

/// What is rendered with from here: the images of the flags, and the version of the cluster.
pub async fn own_context(images: &ImageFlags, client: &Client) -> anyhow::Result<Context> {
    Ok(Context {
        takes_default: true,
        kubernetes_version: client.apiserver_version().await?.git_version,
        ..images.context()
    })
}

/// What the operator renders with: the images that it is configured with, if it is there, and the
/// version of the cluster.
pub async fn context(images: &ImageFlags, client: Option<&Client>) -> anyhow::Result<Context> {
    let Some(client) = client else {
        return Ok(Context {
            takes_default: true,
            ..images.context()
        });
    };
    let mut context = own_context(images, client).await?;
    let api: Api<Deployment> = Api::namespaced(client.clone(), bundle::NAME);
    let operator = api.get_opt(bundle::NAME).await?;
    let configured = |name: &str| {
        operator
            .as_ref()
            .and_then(|operator| environment(operator, name))
    };
    if images.hub.is_none() {
        context.hub = configured("HUB").unwrap_or(context.hub);
    }
    if images.tag.is_none() {
        context.tag = configured("TAG").unwrap_or(context.tag);
    }
    Ok(context)
}

/// A variable of the first container.
fn environment(deployment: &Deployment, name: &str) -> Option<String> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let variables = pod.containers.first()?.env.as_ref()?;
    let value = variables
        .iter()
        .find(|variable| variable.name == name)?
        .value
        .clone();
    value.filter(|value| !value.is_empty())
}

/// Says what of a plan the network of a cluster doesn't work with.
pub async fn warn_of_network(client: &Client, plan: &Plan) {
    let network = Network::look(client).await;
    input::warn(&network.warnings(&plan.components));
}

/// What applying would change in a cluster, in the place of installations that are `replaced`.
pub async fn effect_of(
    client: &Client,
    owner: &Owner,
    replaced: &BTreeSet<Owner>,
    fresh: &Fresh,
) -> anyhow::Result<Effect> {
    let desired = fresh.plan.desired(owner, &fresh.definitions);
    Ok(effect(client, owner, replaced, &desired).await?)
}

/// The plan of what is there, if applying the object would take that over.
async fn adopted(
    client: &Client,
    owner: &Owner,
    object: &Value,
    fresh: &Plan,
) -> anyhow::Result<Option<Plan>> {
    if store::load(client, owner).await?.is_some() {
        return Ok(None);
    }
    let annotations = &object["metadata"]["annotations"];
    let annotations = serde_json::from_value(annotations.clone()).unwrap_or_default();
    let stranger = Stranger {
        client,
        owner,
        annotations: &annotations,
    };
    Ok(match stranger.meet(fresh).await? {
        Contact::Adopted(plan) => Some(plan),
        Contact::Nothing | Contact::Found(_) => None,
    })
}

fn adoption_text(plan: &Plan, owner: &Owner) -> String {
    let mut text = format!(
        "{owner} takes over {} of version {} as found; nothing but labels and annotations of \
         their metadata would change.\n",
        counted(plan.objects.len(), "object"),
        plan.renderer
    );
    let adopted = plan.adopted.clone().unwrap_or_default();
    for release in &adopted.releases {
        text.push_str(&format!("  from the Helm release {release}\n"));
    }
    for key in &adopted.left {
        text.push_str(&format!(
            "  {key} is left alone: it grants what its writer may not do\n"
        ));
    }
    text
}

fn document(plan: &Plan, owner: &Owner, effect: Option<&Effect>) -> Value {
    let mut document = json!({
        "hash": plan.hash,
        "owner": owner.to_string(),
        "version": plan.renderer,
        "revision": plan.revision,
        "components": plan.components,
        "objects": plan.objects.iter().map(|object| json!(object.key())).collect::<Value>(),
    });
    if let Some(effect) = effect {
        document["effect"] = json!(effect);
        document["effect"]["destructive"] = json!(effect.destructive());
        document["effect"]["restarts"] = effect.restarts().map(|key| json!(key)).collect();
    }
    document
}

fn text(plan: &Plan, owner: &Owner, effect: Option<&Effect>, style: Style) -> String {
    let components: Vec<&str> = plan
        .components
        .iter()
        .map(|component| component.as_str())
        .collect();
    let mut text = format!(
        "Plan {} of {owner}: version {}, revision {}\nComponents: {}; {} and the definitions\n",
        plan.hash,
        plan.renderer,
        plan.revision,
        if components.is_empty() {
            "none".to_owned()
        } else {
            components.join(", ")
        },
        counted(plan.objects.len(), "object")
    );
    if let Some(effect) = effect {
        text.push('\n');
        text.push_str(&effect_text(effect, style));
    }
    text
}

/// What would change, the worst first.
pub fn effect_text(effect: &Effect, style: Style) -> String {
    if effect.is_empty() {
        return "Nothing would change.\n".to_owned();
    }
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let lines: String = lines
                .iter()
                .map(|line| format!("  {}\n", style.paint(Paint::Bad, line)))
                .collect();
            text.push_str(&format!("{title}:\n{lines}\n"));
        }
    };
    let refused = effect.refused.iter();
    section(
        "Refused by the API server",
        refused
            .map(|refused| format!("{}: {}", refused.object, refused.reason))
            .collect(),
    );
    section("Destructive", effect.destructive());
    section(
        "Pods are replaced",
        effect.restarts().map(ToString::to_string).collect(),
    );
    for key in &effect.deleted {
        text.push_str(&changes::removed(&key.to_string(), style));
    }
    for changed in &effect.changed {
        text.push_str(&changes::changed(
            &changed.object.to_string(),
            &changed.fields,
            style,
        ));
    }
    for key in &effect.created {
        text.push_str(&changes::added(&key.to_string(), style));
    }
    let (created, changed, deleted) = (
        effect.created.len(),
        effect.changed.len(),
        effect.deleted.len(),
    );
    text.push_str(&format!(
        "\n{created} created, {changed} changed, {deleted} deleted\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ironsail_operator::adopt::ADOPT;
    use ironsail_operator::events::Events;
    use ironsail_operator::install::Install;
    use ironsail_operator::keep::Keeper;
    use ironsail_operator::metrics::Metrics;
    use ironsail_operator::reconcile::{Config, Reconciler};
    use ironsail_operator::testing::{FakeServer, Installer};

    use super::*;

    fn object(spec: Value) -> Value {
        json!({"kind": "IstioOperator", "metadata": {"name": "mesh", "namespace": "istio-system"}, "spec": spec})
    }

    async fn planned(server: &FakeServer, spec: Value) -> (Fresh, Owner, Effect) {
        let client = server.client();
        let object = object(spec);
        let context = context(&ImageFlags::default(), Some(&client))
            .await
            .expect("answers");
        let fresh = fresh(&object, &context, Validation::Enforce).expect("valid");
        let owner = input::owner(&object, &ClusterFlags::default());
        let effect = effect_of(&client, &owner, &BTreeSet::new(), &fresh)
            .await
            .expect("answers");
        (fresh, owner, effect)
    }

    #[tokio::test]
    async fn the_hash_is_that_of_the_operators_images() {
        let server = FakeServer::default();
        let (offline, ..) = planned(&server, json!({})).await;
        let images = ImageFlags {
            hub: Some("own".into()),
            tag: Some("7".into()),
        };
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istio-operator", "namespace": "istio-operator"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "istio-operator", "env": [
                {"name": "HUB", "value": "own"}, {"name": "TAG", "value": "7"}]}]}}},
        });
        server.put(
            "/apis/apps/v1/namespaces/istio-operator/deployments",
            deployment,
        );
        let (configured, ..) = planned(&server, json!({})).await;
        assert_ne!(configured.plan.hash, offline.plan.hash);
        let context = context(&images, None).await.expect("no cluster is asked");
        let flagged = fresh(&object(json!({})), &context, Validation::Enforce).expect("valid");
        assert_eq!(configured.plan.hash, flagged.plan.hash);
    }

    #[tokio::test]
    async fn an_adoption_is_an_empty_plan() {
        let server = FakeServer::default();
        let stock = Context {
            hub: "docker.io/istio".into(),
            tag: "1.24.1".into(),
            ..Context::default()
        };
        let mut rendered = ironsail_operator::render(&json!({"profile": "minimal"}), &stock);
        let objects = rendered.as_mut().map(|rendered| &mut rendered.objects);
        let objects = objects.expect("valid");
        objects.retain(|object| !object.is_definition());
        server.install_by(&Installer::helm("istio-system", "istiod"), objects);
        let client = server.client();
        let mut object = object(json!({"profile": "minimal"}));
        let context = Context::default();
        let fresh = fresh(&object, &context, Validation::Enforce).expect("valid");
        let owner = input::owner(&object, &ClusterFlags::default());
        let plan = adopted(&client, &owner, &object, &fresh.plan).await;
        assert_eq!(plan.expect("answers"), None, "only on request");
        object["metadata"]["annotations"] = json!({ADOPT: "true"});
        let plan = adopted(&client, &owner, &object, &fresh.plan).await;
        let text = adoption_text(&plan.expect("answers").expect("adopted"), &owner);
        let count = objects.len();
        assert_eq!(
            text,
            format!(
                "istio-system/mesh takes over {count} objects of version 1.32.0 as found; nothing but \
                 labels and annotations of their metadata would change.\n  from the Helm release \
                 istio-system/istiod\n"
            )
        );
        assert_eq!(server.take_writes(), []);
    }

    #[tokio::test]
    async fn a_first_plan_creates_everything() {
        let server = FakeServer::default();
        let (fresh, owner, effect) = planned(&server, json!({"profile": "minimal"})).await;
        let text = text(&fresh.plan, &owner, Some(&effect), Style::default());
        assert!(
            text.starts_with(&format!(
                "Plan {} of istio-system/mesh: version ",
                fresh.plan.hash
            )),
            "{text}"
        );
        assert!(text.contains("Components: Base, Pilot; "), "{text}");
        assert!(
            text.contains("\n+ Deployment istio-system/istiod\n"),
            "{text}"
        );
        assert!(text.ends_with(" created, 0 changed, 0 deleted\n"), "{text}");
        let document = document(&fresh.plan, &owner, Some(&effect));
        assert_eq!(
            document["effect"]["created"][0]["kind"],
            "CustomResourceDefinition"
        );
        assert_eq!(document["effect"]["destructive"], json!([]));
        assert_eq!(server.take_writes(), []);
    }

    /// An operator in the same cluster makes the same plan, and finds nothing to do where
    /// `install` has been.
    #[tokio::test(start_paused = true)]
    async fn operator_and_command_line_agree() {
        let server = FakeServer::default();
        let (fresh, owner, _) = planned(&server, json!({"profile": "demo"})).await;
        let client = server.client();
        let install = Install {
            client: &client,
            owner: &owner,
            fresh: &fresh,
            limit: Duration::from_secs(60),
            recreate: &BTreeSet::new(),
        };
        tokio::select! {
            done = install.run(|_| {}) => drop(done.expect("installed")),
            () = async { loop { tokio::time::sleep(Duration::from_secs(1)).await; server.make_ready() } } => {}
        }
        server.take_writes();
        let mut operator = object(json!({"profile": "demo"}));
        operator["apiVersion"] = json!("install.istio.io/v1alpha1");
        server.put(
            "/apis/install.istio.io/v1alpha1/namespaces/istio-system/istiooperators",
            operator,
        );
        let config = Config {
            render: Context {
                takes_default: true,
                ..Context::default()
            },
            wait: Duration::from_secs(60),
            revision: String::new(),
            namespaces: Vec::new(),
        };
        let (keeper, events) = (
            Keeper::new(client.clone(), None),
            Events::new(client.clone(), None),
        );
        let reconciler = Reconciler::new(client.clone(), config, keeper, Metrics::new(), events);
        for _ in 0..3 {
            let live = server.object("/istiooperators/mesh");
            let live = serde_json::from_value(live).expect("an object");
            reconciler.reconcile(&live, &server.seen()).await;
        }
        assert_eq!(
            server.object("/istiooperators/mesh")["status"]["plan"]["hash"],
            fresh.plan.hash
        );
        assert_eq!(
            server.object("/istiooperators/mesh")["status"]["status"],
            "HEALTHY"
        );
        let other = |path: &str| {
            !path.contains("/istiooperators/mesh") && !path.contains("/istio-operator-plan.")
        };
        let writes: Vec<_> = server
            .take_writes()
            .into_iter()
            .filter(|write| other(&write.path))
            .collect();
        assert_eq!(writes, []);
    }

    #[test]
    fn the_worst_comes_first() {
        use ironsail_operator::object::Kind;
        use ironsail_operator::plan::live::Changed;
        let key = |name: &str| {
            Kind::find("apps", "Deployment")
                .expect("known")
                .key("a", name)
        };
        let effect = Effect {
            created: vec![key("new")],
            changed: vec![Changed {
                object: key("changed"),
                fields: ironsail_operator::plan::fields::differences(
                    &json!({"a": 1}),
                    &json!({"a": 2}),
                ),
                restarts: true,
                anew: false,
            }],
            deleted: vec![key("old")],
            refused: Vec::new(),
        };
        insta::assert_snapshot!(effect_text(&effect, Style::default()), @r"
        Destructive:
          deletes Deployment a/old

        Pods are replaced:
          Deployment a/changed

        - Deployment a/old
        ~ Deployment a/changed
            a: 1 -> 2
        + Deployment a/new

        1 created, 1 changed, 1 deleted
        ");
        assert_eq!(
            effect_text(&Effect::default(), Style::default()),
            "Nothing would change.\n"
        );
    }
}
