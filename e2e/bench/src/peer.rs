//! The proxies under test, each started with one worker on the core of proxies.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ironsail_peer::http::get;
use ironsail_peer::{Envoy, Launch, Process, free_port};
use ironsail_xds::bootstrap::Bootstrap;
use serde_json::json;

use crate::machine::{PROXY_CORE, on_core};
use crate::mesh::{self, Authority, Mesh, Resources};

pub const IRONSAIL: &str = "ironsail";
pub const ENVOY: &str = "envoy";
pub const NGINX: &str = "nginx";

/// Pod that the agent is told to be in.
pub const POD: &str = "productpage-v1-0";
pub const NAMESPACE: &str = "default";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub agent: PathBuf,
    pub envoy: PathBuf,
    pub nginx: PathBuf,
}

/// Our proxy with its agent, and the control plane that configures it.
pub struct Agent {
    pub process: Process,
    prometheus: u16,
    mesh: Mesh,
}

impl Agent {
    /// Starts it and waits until it is ready: all of `resources` are in use then.
    pub fn start(
        programs: &Programs,
        resources: impl Resources,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let mesh = Mesh::start(resources)?;
        let home = directory.join("agent");
        write_pod_files(&home, mesh.authority.root())?;
        let (admin, status, readiness, prometheus) =
            (free_port()?, free_port()?, free_port()?, free_port()?);
        let config = json!({
            "discoveryAddress": mesh.address.to_string(),
            "proxyAdminPort": admin,
            "statusPort": status,
        });
        let mut command = on_core(PROXY_CORE, &programs.agent);
        command
            .args(["proxy", "sidecar", "--concurrency", "1"])
            .args(["--log_output_level", "default:warn"])
            .current_dir(&home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("POD_NAME", POD)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("SERVICE_ACCOUNT", "bookinfo-productpage")
            .env("INSTANCE_IP", "127.0.0.1")
            .env("ISTIOD_SAN", mesh::NAME)
            .env("ISTIO_META_CLUSTER_ID", "Kubernetes")
            .env("ISTIO_META_MESH_ID", "cluster.local")
            .env("ISTIO_META_WORKLOAD_NAME", "productpage-v1")
            .env("ENVOY_STATUS_PORT", readiness.to_string())
            .env("ENVOY_PROMETHEUS_PORT", prometheus.to_string())
            .env("PROXY_CONFIG", config.to_string());
        let mut process = Process::start(IRONSAIL, command, directory)?;
        process.wait_until(|| get(readiness, "agent", "/healthz/ready").is_ok())?;
        Ok(Self {
            process,
            prometheus,
            mesh,
        })
    }
}

impl Agent {
    /// Who signed its certificate.
    pub fn authority(&self) -> &Authority {
        &self.mesh.authority
    }

    /// Requests that Istio's metrics have counted.
    pub fn counted_requests(&self) -> anyhow::Result<u64> {
        let metrics = get(self.prometheus, "agent", "/stats/prometheus")?;
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with("istio_requests_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }
}

/// What the kubelet would mount.
fn write_pod_files(home: &Path, root: &str) -> anyhow::Result<()> {
    let files = [
        ("var/run/secrets/istio/root-cert.pem", root),
        ("var/run/secrets/tokens/istio-token", "token"),
        (
            "etc/istio/pod/labels",
            "app=\"productpage\"\nversion=\"v1\"\nservice.istio.io/canonical-name=\"productpage\"\n",
        ),
    ];
    for (name, text) in files {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().context("files are in directories")?)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Starts Envoy with a configuration of its own.
pub fn start_envoy(
    programs: &Programs,
    bootstrap: &Bootstrap,
    port: u16,
    directory: &Path,
) -> anyhow::Result<Envoy> {
    let launch = Launch {
        command: on_core(PROXY_CORE, &programs.envoy),
        name: ENVOY,
        directory,
        log_level: "error",
    };
    let mut envoy = Envoy::start(launch, bootstrap)?;
    envoy.process.wait_for_port(port)?;
    Ok(envoy)
}

/// Ports of nginx, which does not find out what a client speaks without TLS.
#[derive(Clone, Copy)]
pub struct NginxPorts {
    pub http1: u16,
    pub http2: u16,
    pub backend: u16,
}

/// Starts nginx as a proxy that keeps connections to the backend.
pub fn start_nginx(
    programs: &Programs,
    ports: NginxPorts,
    directory: &Path,
) -> anyhow::Result<Process> {
    let home = directory.join("nginx");
    std::fs::create_dir_all(&home)?;
    let path = home.join("nginx.conf");
    std::fs::write(&path, nginx_config(&home, ports))?;
    let mut command = on_core(PROXY_CORE, &programs.nginx);
    command.args(["-e", "stderr", "-c"]).arg(path);
    let mut process = Process::start(NGINX, command, directory)?;
    process.wait_for_port(ports.http1)?;
    Ok(process)
}

fn nginx_config(home: &Path, ports: NginxPorts) -> String {
    let NginxPorts {
        http1,
        http2,
        backend,
    } = ports;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", home.display()))
        .concat();
    format!(
        "daemon off; master_process off; pid {home}/pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
access_log off; keepalive_requests 1000000000; {temporary}
upstream backend {{ server 127.0.0.1:{backend}; keepalive 1024; keepalive_requests 1000000000; }}
server {{
  listen 127.0.0.1:{http1}; listen 127.0.0.1:{http2} http2;
  location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
}} }}
",
        home = home.display(),
    )
}
