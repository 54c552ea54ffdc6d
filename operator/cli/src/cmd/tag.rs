//! `tag`: names for revisions.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ironsail_operator::tag::{self, Listed, Tag};
use kube::Client;

use crate::cluster::ClusterFlags;
use crate::exit::Code;
use crate::output::ask::confirm;
use crate::output::style::Style;
use crate::output::table::table;
use crate::output::{Format, stream};

#[derive(Subcommand)]
pub enum Command {
    /// Let a tag lead to a revision.
    Set(SetFlags),
    /// Print the objects of a tag.
    Generate(SetFlags),
    /// List all tags.
    #[command(visible_alias = "show")]
    List(ListFlags),
    /// Remove a tag.
    #[command(visible_alias = "delete")]
    Remove(RemoveFlags),
}

#[derive(Args)]
pub struct SetFlags {
    /// Name of the tag.
    tag: String,
    /// Revision that the tag leads to.
    #[arg(short, long)]
    revision: String,
    /// Change a tag that is there.
    #[arg(long)]
    overwrite: bool,
    /// The tag default also injects namespaces without a label of injection.
    #[arg(long)]
    auto_inject_namespaces: bool,
    /// Answer yes.
    #[arg(short = 'y', long)]
    skip_confirmation: bool,
    /// Accepted for scripts; charts and profiles are built in.
    #[arg(short = 'd', long, hide = true, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

#[derive(Args)]
pub struct ListFlags {
    /// For programs.
    #[arg(short, long)]
    output: Option<Format>,
}

#[derive(Args)]
pub struct RemoveFlags {
    /// Name of the tag.
    tag: String,
    /// Answer yes.
    #[arg(short = 'y', long)]
    skip_confirmation: bool,
}

impl Command {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let client = cluster.connect().await?;
        match self {
            Self::Set(flags) => flags.set(&client).await?,
            Self::Generate(flags) => print!("{}", stream(&flags.tag().objects(&client).await?)?),
            Self::List(flags) => print!("{}", flags.text(&tag::list(&client).await?)?),
            Self::Remove(flags) => flags.remove(&client).await?,
        }
        Ok(Code::Ok)
    }
}

impl SetFlags {
    fn tag(&self) -> Tag {
        Tag {
            name: self.tag.clone(),
            revision: self.revision.clone(),
            auto_inject: self.auto_inject_namespaces,
            overwrite: self.overwrite,
        }
    }

    async fn set(&self, client: &Client) -> anyhow::Result<()> {
        // Nobody is asked about what will be refused.
        self.tag().objects(client).await?;
        let users = users(client, &self.tag).await?;
        if !users.is_empty() && !self.skip_confirmation {
            confirm(&format!(
                "New pods of these namespaces will use revision {}: {}.",
                self.revision,
                users.join(", ")
            ))?;
        }
        self.tag().set(client).await?;
        let text = format!(
            "Revision tag {} leads to revision {}",
            self.tag, self.revision
        );
        println!("{}", Style::of_stdout().good(&text));
        println!(
            "Pods follow when they are restarted: kubectl rollout restart deployment -n NAMESPACE"
        );
        Ok(())
    }
}

impl ListFlags {
    fn text(&self, tags: &[Listed]) -> anyhow::Result<String> {
        if let Some(format) = self.output {
            return format.write(&tags);
        }
        let rows: Vec<[String; 3]> = tags
            .iter()
            .map(|own| {
                [
                    own.tag.clone(),
                    own.revision.clone(),
                    own.namespaces.join(","),
                ]
            })
            .collect();
        Ok(table(["TAG", "REVISION", "NAMESPACES"], &rows))
    }
}

impl RemoveFlags {
    async fn remove(&self, client: &Client) -> anyhow::Result<()> {
        let users = users(client, &self.tag).await?;
        if !users.is_empty() && !self.skip_confirmation {
            confirm(&format!(
                "These namespaces use the tag, and their new pods would not be injected: {}.",
                users.join(", ")
            ))?;
        }
        for key in tag::remove(client, &self.tag).await? {
            println!("{}", Style::of_stdout().good(&format!("{key} removed")));
        }
        Ok(())
    }
}

/// Namespaces that use a tag.
async fn users(client: &Client, tag: &str) -> anyhow::Result<Vec<String>> {
    let tags = tag::list(client).await?;
    let own = tags.into_iter().find(|own| own.tag == tag);
    Ok(own.map(|own| own.namespaces).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_table_or_a_document() {
        let tags = [Listed {
            tag: "prod".into(),
            revision: "1-32-0".into(),
            namespaces: vec!["a".into(), "b".into()],
        }];
        let text = ListFlags { output: None }.text(&tags).expect("text");
        assert_eq!(
            text,
            "TAG    REVISION   NAMESPACES\nprod   1-32-0     a,b\n"
        );
        let json = ListFlags {
            output: Some(Format::Json),
        }
        .text(&tags)
        .expect("JSON");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json[0]["namespaces"][1], "b");
    }
}
