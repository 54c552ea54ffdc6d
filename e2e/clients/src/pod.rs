//! Pods with our agent: with our proxy, or beside a proxy or library of others.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use ironsail_peer::{Envoy, Launch, Process, http};
use ironsail_proxy::capture::{self, Options};
use ironsail_runtime::tls;
use serde_json::json;
use tempfile::TempDir;

use crate::control_plane::{ControlPlane, token};
use crate::namespace::{Namespace, Network};

/// Group of proxies, whose connections are not captured.
const PROXY_GROUP: u32 = 1337;
const CAPTURE: &str =
    "-p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -b * -d 15090,15021,15020";
const READINESS_PORT: u16 = 15021;

/// Who a pod is.
#[derive(Clone, Debug)]
pub struct Address {
    pub namespace: String,
    pub name: String,
    pub ip: Ipv4Addr,
    pub account: String,
    pub labels: Vec<(String, String)>,
}

impl Address {
    /// A pod of the control plane's cluster.
    ///
    /// # Errors
    /// There is none whose name begins so.
    pub fn find(control_plane: &ControlPlane, namespace: &str, name: &str) -> anyhow::Result<Self> {
        let is_wanted = |pod: &&k8s_openapi::api::core::v1::Pod| {
            let own = pod.metadata.name.as_deref().unwrap_or_default();
            pod.metadata.namespace.as_deref() == Some(namespace) && own.starts_with(name)
        };
        let pod = control_plane.pods().find(is_wanted);
        let pod = pod.with_context(|| format!("there is no pod {name} in {namespace}"))?;
        let ip = ironsail_sim::cluster::address(pod).context("a pod has an address")?;
        let spec = pod.spec.clone().unwrap_or_default();
        Ok(Self {
            namespace: namespace.to_owned(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            ip: ip.to_string().parse()?,
            account: spec.service_account_name.unwrap_or("default".to_owned()),
            labels: pod.metadata.labels.clone().into_iter().flatten().collect(),
        })
    }

    /// `<name>.<namespace>`, as discovery calls it.
    pub fn proxy(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }
}

/// Where connections of a pod go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interception {
    /// To its proxy. The rules are there before the agent, as in a cluster: afterwards they would break connections.
    Redirect,
    /// Where they are meant to go.
    None,
}

/// A pod that runs.
pub struct Pod {
    pub network: Namespace,
    pub address: Address,
    pub home: TempDir,
    agent: Process,
}

impl Pod {
    /// Starts the agent with the proxy of ours, which takes the pod's connections.
    ///
    /// # Errors
    /// The proxy is not ready in time.
    pub fn with_proxy(
        network: &Network,
        control_plane: &ControlPlane,
        address: Address,
    ) -> anyhow::Result<Self> {
        Self::start(network, control_plane, address, Interception::Redirect, &[])
    }

    /// Starts the agent alone, with more variables.
    ///
    /// # Errors
    /// It has no certificate in time.
    pub fn with_agent(
        network: &Network,
        control_plane: &ControlPlane,
        address: Address,
        interception: Interception,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let variables = [&[("DISABLE_ENVOY", "true")], variables].concat();
        Self::start(network, control_plane, address, interception, &variables)
    }

    fn start(
        network: &Network,
        control_plane: &ControlPlane,
        address: Address,
        interception: Interception,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        tls::install_provider();
        let home = tempfile::tempdir()?;
        write_files(home.path(), &control_plane.root, &address)?;
        let namespace = network.add(address.ip)?;
        if interception == Interception::Redirect {
            let options = Options::parse(CAPTURE.split(' ').map(str::to_owned))?;
            namespace.enter(move || capture::run(&options))?;
        }
        let control_plane = control_plane.address.to_string();
        let config = json!({"discoveryAddress": control_plane});
        let mut command = namespace.command(agent()?);
        command
            .args(["proxy", "sidecar", "--concurrency", "1"])
            .current_dir(home.path())
            .env_clear()
            .env("POD_NAME", &address.name)
            .env("POD_NAMESPACE", &address.namespace)
            .env("SERVICE_ACCOUNT", &address.account)
            .env("INSTANCE_IP", address.ip.to_string())
            .env("ISTIOD_SAN", ControlPlane::name())
            .env("CA_ADDR", control_plane)
            .env("ISTIO_META_CLUSTER_ID", "Kubernetes")
            .env("PROXY_CONFIG", config.to_string())
            .envs(variables.iter().copied());
        as_proxy(&mut command);
        let mut agent = Process::start("agent", command, home.path())?;
        agent.wait_until(|| {
            namespace.enter(|| http::get(READINESS_PORT, "agent", "/healthz/ready").is_ok())
        })?;
        Ok(Self {
            network: namespace,
            address,
            home,
            agent,
        })
    }

    /// Starts a stock Envoy beside the agent, with a bootstrap in YAML.
    ///
    /// # Errors
    /// It refuses the bootstrap.
    pub fn start_envoy(&self, bootstrap: &str) -> anyhow::Result<Envoy> {
        let mut launch = Launch::new(self.home.path())?;
        let program = launch.command.get_program().to_owned();
        launch.command = self.network.command(program);
        launch.command.current_dir(self.home.path());
        as_proxy(&mut launch.command);
        self.network.enter(|| Envoy::start_yaml(launch, bootstrap))
    }

    /// What the agent has printed.
    pub fn log(&self) -> String {
        self.agent.output()
    }
}

fn as_proxy(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.gid(PROXY_GROUP);
}

/// Our agent, beside the tests: `cargo test --workspace` builds it.
fn agent() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).context("tests are in a folder")?;
    let agent = folder.join("pilot-agent");
    if !agent.exists() {
        bail!(
            "{} is missing; `cargo build -p ironsail-proxy` builds it",
            agent.display()
        );
    }
    Ok(agent)
}

/// What the kubelet would mount.
fn write_files(home: &Path, root: &str, address: &Address) -> anyhow::Result<()> {
    let labels = address.labels.iter();
    let labels: String = labels
        .map(|(key, value)| format!("{key}=\"{value}\"\n"))
        .collect();
    let token = token(&address.namespace, &address.account);
    let files = [
        ("var/run/secrets/istio/root-cert.pem", root),
        ("var/run/secrets/tokens/istio-token", &token),
        ("etc/istio/pod/labels", &labels),
    ];
    for (name, text) in files {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().context("files are in folders")?)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}
