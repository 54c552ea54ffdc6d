//! `uninstall`: a revision, an installation, or everything.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use ironsail_mesh::label;
use ironsail_operator::count::counted;
use ironsail_operator::delete::GivenUp;
use ironsail_operator::plan::Owner;
use ironsail_operator::share::is_reconciled;
use ironsail_operator::tag::{self, Listed};
use ironsail_operator::uninstall::{Scope, Victim, delete, forget};
use kube::Client;

use crate::cluster::ClusterFlags;
use crate::exit::{self, Code};
use crate::input::{self, SpecFlags};
use crate::output::ask::confirm;
use crate::output::style::Style;
use crate::pods::{self, MeshPod};

/// Proxies that are listed; the rest is counted.
const MAX_LISTED: usize = 20;

#[derive(Args)]
pub struct Flags {
    /// Control plane and gateways of this revision.
    #[arg(short, long)]
    revision: Option<String>,
    /// What this IstioOperator installed.
    #[arg(short, long, value_delimiter = ',', value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Everything, also the definitions of kinds and with them all resources of users.
    #[arg(long)]
    purge: bool,
    /// Answer yes.
    #[arg(short = 'y', long)]
    skip_confirmation: bool,
    /// Go on where an operator would install it again.
    #[arg(long)]
    force: bool,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Accepted for scripts; every object has a line.
    #[arg(short, long, hide = true)]
    verbose: bool,
    /// Accepted for scripts; charts and profiles are built in.
    #[arg(short = 'd', long, hide = true, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

impl Flags {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let scope = self.scope(cluster)?;
        let client = cluster.connect().await?;
        let victims = scope.victims(&client).await?;
        if victims.is_empty() {
            println!("There is nothing to remove.");
            return Ok(Code::Ok);
        }
        if !self.force {
            leave_to_operators(&client, &victims).await?;
        }
        let proxies = attached(pods::proxies(&client).await?, &scope);
        print!("{}", warning(&scope, &victims, &proxies));
        print!("{}", dangling(&tag::list(&client).await?, &scope, &victims));
        if self.dry_run {
            for victim in &victims {
                println!("- {}", victim.key);
            }
            return Ok(Code::Ok);
        }
        if !self.skip_confirmation {
            confirm(&format!(
                "This will remove {} from the cluster.",
                counted(victims.len(), "object")
            ))?;
        }
        let style = Style::of_stdout();
        for victim in &victims {
            match delete(&client, &scope, victim).await? {
                GivenUp::Deleted => println!("{}", style.good(&format!("{} removed", victim.key))),
                GivenUp::HandedOver(heir) => {
                    println!(
                        "{}",
                        style.good(&format!(
                            "{} left to {heir}, which wants it too",
                            victim.key
                        ))
                    );
                }
                GivenUp::Gone => {}
            }
        }
        forget(&client, &scope, &victims).await?;
        println!("{}", style.good("Uninstall complete"));
        Ok(Code::Ok)
    }

    fn scope(&self, cluster: &ClusterFlags) -> anyhow::Result<Scope> {
        match (&self.revision, self.filename.is_empty(), self.purge) {
            (Some(revision), true, false) => Ok(Scope::Revision(revision.clone())),
            (None, false, false) => {
                let files = SpecFlags {
                    filename: self.filename.clone(),
                    ..SpecFlags::default()
                };
                Ok(Scope::Owner(input::owner(&files.object()?, cluster)))
            }
            (None, true, true) => Ok(Scope::Everything),
            _ => Err(exit::usage(
                "give one of --revision, --filename and --purge",
            )),
        }
    }
}

/// An operator would install again what is removed here.
async fn leave_to_operators(client: &Client, victims: &[Victim]) -> anyhow::Result<()> {
    let owners: BTreeSet<Owner> = victims.iter().filter_map(Victim::owner).collect();
    for owner in owners {
        if is_reconciled(client, &owner).await? {
            bail!(
                "IstioOperator {owner} is in the cluster, and its operator would install it again: use \
                 kubectl -n {} delete istiooperator {}, or --force to go on",
                owner.namespace,
                owner.name
            );
        }
    }
    Ok(())
}

/// Proxies whose control plane would go.
fn attached(proxies: Vec<MeshPod>, scope: &Scope) -> Vec<MeshPod> {
    let of_scope = |pod: &MeshPod| match scope {
        Scope::Revision(revision) => pod.revision == *revision,
        Scope::Owner(_) | Scope::Everything => true,
    };
    proxies.into_iter().filter(of_scope).collect()
}

/// What somebody could miss.
fn warning(scope: &Scope, victims: &[Victim], proxies: &[MeshPod]) -> String {
    let mut text = String::new();
    let gateways: Vec<String> = victims
        .iter()
        .filter(|victim| victim.is_gateway())
        .map(|victim| victim.key.to_string())
        .collect();
    if !gateways.is_empty() {
        text.push_str(&format!(
            "Gateways that will be removed:\n  {}\n",
            gateways.join("\n  ")
        ));
    }
    if !proxies.is_empty() {
        text.push_str(&format!(
            "{} may still use the control plane:\n",
            counted(proxies.len(), "proxy")
        ));
        for pod in proxies.iter().take(MAX_LISTED) {
            text.push_str(&format!("  {}/{}\n", pod.namespace, pod.name));
        }
        if proxies.len() > MAX_LISTED {
            text.push_str(&format!("  and {} more\n", proxies.len() - MAX_LISTED));
        }
    }
    if *scope == Scope::Everything {
        text.push_str("All definitions of mesh kinds will be removed, and with them all resources of these kinds.\n");
    }
    text
}

/// Tags that stay and will lead to a revision that is gone.
fn dangling(tags: &[Listed], scope: &Scope, victims: &[Victim]) -> String {
    let Scope::Revision(revision) = scope else {
        return String::new();
    };
    let goes = |own: &Listed| {
        let mut labels = victims
            .iter()
            .filter_map(|victim| victim.metadata.labels.as_ref());
        labels.any(|labels| labels.get(label::TAG) == Some(&own.tag))
    };
    let lost = tags
        .iter()
        .filter(|own| own.revision == *revision && !goes(own));
    lost.map(|own| {
        let users = match own.namespaces.is_empty() {
            true => "nobody uses it".to_owned(),
            false => format!("new pods of {} will be refused", own.namespaces.join(", ")),
        };
        format!("The tag {} will lead nowhere; {users}\n", own.tag)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(revision: Option<&str>, purge: bool) -> Flags {
        Flags {
            revision: revision.map(str::to_owned),
            filename: Vec::new(),
            purge,
            skip_confirmation: true,
            force: false,
            dry_run: false,
            verbose: false,
            manifests: None,
        }
    }

    #[test]
    fn tags_that_lead_nowhere_are_named() {
        let tag = |name: &str, revision: &str, namespaces: &[&str]| Listed {
            tag: name.into(),
            revision: revision.into(),
            namespaces: namespaces.iter().map(|&name| name.into()).collect(),
        };
        let tags = [
            tag("prod", "canary", &["shop"]),
            tag("next", "canary", &[]),
            tag("other", "default", &["a"]),
        ];
        let scope = Scope::Revision("canary".into());
        assert_eq!(
            dangling(&tags, &scope, &[]),
            "The tag prod will lead nowhere; new pods of shop will be refused\n\
             The tag next will lead nowhere; nobody uses it\n"
        );
        assert_eq!(dangling(&tags, &Scope::Everything, &[]), "");
    }

    #[test]
    fn exactly_one_scope_is_given() {
        let scope = |flags: Flags| flags.scope(&ClusterFlags::default());
        assert_eq!(
            scope(flags(Some("canary"), false)).expect("one"),
            Scope::Revision("canary".into())
        );
        assert_eq!(scope(flags(None, true)).expect("one"), Scope::Everything);
        for flags in [flags(None, false), flags(Some("canary"), true)] {
            assert_eq!(exit::code(&scope(flags).expect_err("not one")), Code::Usage);
        }
    }

    #[test]
    fn proxies_of_the_revision_are_listed() {
        let pod = |revision: &str, name: usize| MeshPod {
            namespace: "apps".into(),
            name: name.to_string(),
            revision: revision.into(),
            version: "1".into(),
        };
        let pods = (0..25)
            .map(|n| pod("canary", n))
            .chain([pod("default", 99)])
            .collect();
        let scope = Scope::Revision("canary".into());
        let found = attached(pods, &scope);
        assert_eq!(found.len(), 25);
        let text = warning(&scope, &[], &found);
        assert!(
            text.starts_with("25 proxies") && text.ends_with("  and 5 more\n"),
            "{text}"
        );
    }
}
