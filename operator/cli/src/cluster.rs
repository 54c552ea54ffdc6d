//! Which cluster a command talks to: global flags, environment, configuration file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ironsail_kube::client::connect_to;
use ironsail_mesh::duration;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use crate::exit;

const DEFAULT_NAMESPACE: &str = "istio-system";

/// Flags of every command. What they leave open comes from the environment (`ISTIOCTL_…`), then
/// from the file that `ISTIOCONFIG` names, `~/.istioctl/config.yaml` by default.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterFlags {
    /// Kubernetes configuration file.
    #[arg(
        short = 'c',
        long,
        global = true,
        env = "ISTIOCTL_KUBECONFIG",
        value_name = "FILE"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the configuration file.
    #[arg(long, global = true, env = "ISTIOCTL_CONTEXT")]
    pub context: Option<String>,
    /// Namespace of what the command is about.
    #[arg(short, long, global = true, env = "ISTIOCTL_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace of the control plane [default: istio-system].
    #[arg(
        short,
        long = "istioNamespace",
        global = true,
        env = "ISTIOCTL_ISTIONAMESPACE",
        value_name = "NAMESPACE"
    )]
    istio_namespace: Option<String>,
    /// User to act as.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Id of the user to act as.
    #[arg(long, global = true, value_name = "UID")]
    pub as_uid: Option<String>,
    /// Group to act as; can be given several times.
    #[arg(long, global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,
    /// How long to wait for the API server's first answer.
    #[arg(long, global = true, default_value = "15s", value_parser = parse_duration, value_name = "DURATION")]
    pub kubeclient_timeout: Duration,
    /// Accepted for scripts; has no effect.
    #[arg(long, global = true, hide = true, value_name = "LEVEL")]
    vklog: Option<String>,
}

/// A duration as flags have it, such as `300s`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// Defaults of flags, from a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Defaults {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    namespace: Option<String>,
    istio_namespace: Option<String>,
}

impl ClusterFlags {
    /// Fills what neither flags nor environment say from the configuration file, if there is one.
    ///
    /// # Errors
    /// The file can't be understood.
    pub fn with_defaults(&self) -> anyhow::Result<Self> {
        let file = std::env::var_os("ISTIOCONFIG")
            .map(PathBuf::from)
            .or_else(|| {
                let home = std::env::var_os("HOME")?;
                Some(PathBuf::from(home).join(".istioctl/config.yaml"))
            });
        match file.as_deref().map(std::fs::read_to_string) {
            Some(Ok(text)) => self
                .over(&text)
                .with_context(|| file.unwrap_or_default().display().to_string()),
            _ => Ok(self.clone()),
        }
    }

    /// These flags over the defaults of a file.
    fn over(&self, text: &str) -> anyhow::Result<Self> {
        let defaults: Option<Defaults> =
            serde_yaml_ng::from_str(text).map_err(|error| exit::data(error.to_string()))?;
        let defaults = defaults.unwrap_or_default();
        Ok(Self {
            kubeconfig: self.kubeconfig.clone().or(defaults.kubeconfig),
            context: self.context.clone().or(defaults.context),
            namespace: self.namespace.clone().or(defaults.namespace),
            istio_namespace: self.istio_namespace.clone().or(defaults.istio_namespace),
            ..self.clone()
        })
    }

    /// Namespace of the control plane.
    pub fn istio_namespace(&self) -> &str {
        self.istio_namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// A client of the cluster, which answers.
    ///
    /// # Errors
    /// There is no configuration of a cluster, or the API server doesn't answer in time.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.auth_info.impersonate = self.as_user.clone().or(config.auth_info.impersonate);
        config.auth_info.impersonate_uid = self.as_uid.clone().or(config.auth_info.impersonate_uid);
        if !self.as_group.is_empty() {
            config.auth_info.impersonate_groups = Some(self.as_group.clone());
        }
        let address = config.cluster_url.to_string();
        let client = connect_to(config)?;
        tokio::time::timeout(self.kubeclient_timeout, client.apiserver_version())
            .await
            .with_context(|| format!("{address} does not answer"))?
            .with_context(|| format!("{address} can't be reached"))?;
        Ok(client)
    }

    /// Whether a cluster is configured, so that a command can be expected to look at it.
    pub async fn is_configured(&self) -> bool {
        let named = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
        let asked = self.kubeconfig.is_some() || self.context.is_some();
        named || asked || self.config().await.is_ok()
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        if let Some(path) = &self.kubeconfig {
            let file = Kubeconfig::read_from(path).with_context(|| path.display().to_string())?;
            return Ok(Config::from_custom_kubeconfig(file, &options).await?);
        }
        if self.context.is_some() {
            return Ok(Config::from_kubeconfig(&options).await?);
        }
        Config::infer()
            .await
            .context("no configuration of a cluster: set KUBECONFIG or --kubeconfig")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let flags = ClusterFlags {
            context: Some("flag".into()),
            ..ClusterFlags::default()
        };
        let merged = flags
            .over("context: file\nistioNamespace: mesh\n")
            .expect("YAML");
        assert_eq!(merged.context.as_deref(), Some("flag"));
        assert_eq!(merged.istio_namespace(), "mesh");
        assert_eq!(
            flags.over("").expect("empty").istio_namespace(),
            "istio-system"
        );
        let error = flags.over("[").expect_err("no YAML");
        assert_eq!(exit::code(&error), exit::Code::Data);
    }
}
