//! The program `operator`.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use ironsail_mesh::duration;
use ironsail_operator::reconcile::Config;
use ironsail_operator::server::{self, Settings};
use ironsail_operator::{Context, bundle, render_object, yaml};
use ironsail_runtime::log::{self, LogConfig};
use ironsail_runtime::version::{self, Format};

/// Installs and keeps service meshes that IstioOperator objects describe.
#[derive(Parser)]
#[command(name = "operator", disable_version_flag = true)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Reconcile the IstioOperator objects of a cluster.
    Server(Box<ServerFlags>),
    /// Print what would be applied for an IstioOperator.
    Render(RenderFlags),
    /// Print the manifest that installs the operator.
    Dump(DumpFlags),
    /// Print the version.
    Version(VersionFlags),
}

/// Images that are used unless an IstioOperator names others.
#[derive(Args)]
struct ImageFlags {
    /// Registry and path of the images.
    #[arg(long, env = "HUB")]
    hub: Option<String>,
    /// Tag of the images.
    #[arg(long, env = "TAG")]
    tag: Option<String>,
}

impl ImageFlags {
    fn context(self) -> Context {
        let default = Context::default();
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Context {
            hub: given(self.hub).unwrap_or(default.hub),
            tag: given(self.tag).unwrap_or(default.tag),
            ..default
        }
    }
}

#[derive(Args)]
struct DumpFlags {
    /// Write it, and what else is made from the same objects, below this directory.
    #[arg(long)]
    write: Option<PathBuf>,
    #[command(flatten)]
    images: ImageFlags,
}

#[derive(Args)]
struct ServerFlags {
    /// Address to serve metrics and probes on.
    #[arg(long, default_value = "0.0.0.0")]
    monitoring_host: String,
    /// Port to serve metrics and probes on.
    #[arg(long, default_value_t = bundle::PORT)]
    monitoring_port: u16,
    /// Port to serve the admission webhook on; 0 serves none.
    #[arg(long, default_value_t = bundle::WEBHOOK_PORT)]
    webhook_port: u16,
    /// Name of the ValidatingWebhookConfiguration that calls this operator.
    #[arg(long, env = "WEBHOOK_CONFIGURATION", default_value = bundle::NAME)]
    webhook_configuration: String,
    /// IstioOperators that are reconciled at the same time.
    #[arg(long, default_value_t = 4)]
    max_concurrent_reconciles: u16,
    /// Levels of log output, such as default:info,reconcile:debug.
    #[arg(long = "log_output_level", default_value = "default:info")]
    log_output_level: String,
    /// Log JSON.
    #[arg(long = "log_as_json")]
    log_as_json: bool,
    /// Namespaces of IstioOperators, separated by commas; empty means all.
    #[arg(long, env = "WATCH_NAMESPACE", default_value = "istio-system")]
    watch_namespace: String,
    /// Reconcile only IstioOperators of this revision; empty means all.
    #[arg(long, env = "REVISION", default_value = "")]
    revision: String,
    /// How long a component may take until the next one no longer waits for it.
    #[arg(long, env = "WAIT_FOR_RESOURCES_TIMEOUT", default_value = "300s", value_parser = parse_duration)]
    wait_for_resources_timeout: Duration,
    /// A leader that could not renew its Lease for this long stops leading.
    #[arg(long, env = "RENEW_DEADLINE", default_value = "10s", value_parser = parse_duration)]
    renew_deadline: Duration,
    /// Name of the own pod.
    #[arg(long, env = "POD_NAME")]
    pod_name: Option<String>,
    /// Namespace of the own pod.
    #[arg(long, env = "POD_NAMESPACE")]
    pod_namespace: Option<String>,
    /// Name of the account that the own pod runs as.
    #[arg(long, env = "SERVICE_ACCOUNT")]
    service_account: Option<String>,
    /// Namespace of the Lease; default is the pod's.
    #[arg(long, env = "LEADER_ELECTION_NAMESPACE")]
    leader_election_namespace: Option<String>,
    #[command(flatten)]
    images: ImageFlags,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

impl ServerFlags {
    fn settings(self) -> Settings {
        let names = self.watch_namespace.split(',').map(str::trim);
        let namespaces = names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Settings {
            reconcile: Config {
                render: Context {
                    takes_default: true,
                    ..self.images.context()
                },
                wait: self.wait_for_resources_timeout,
                revision: self.revision,
                namespaces,
            },
            concurrency: self.max_concurrent_reconciles,
            listen: format!("{}:{}", self.monitoring_host, self.monitoring_port),
            pod: given(self.pod_name),
            namespace: given(self.pod_namespace),
            service_account: given(self.service_account),
            lease_namespace: given(self.leader_election_namespace),
            renew_deadline: self.renew_deadline,
            webhook: (self.webhook_port != 0).then(|| format!("0.0.0.0:{}", self.webhook_port)),
            webhook_configuration: self.webhook_configuration,
        }
    }
}

#[derive(Args)]
struct RenderFlags {
    /// File with an IstioOperator; - reads standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Version of the cluster, such as v1.34.4-gke.100, for what depends on it.
    #[arg(long, default_value = "")]
    kubernetes_version: String,
    #[command(flatten)]
    images: ImageFlags,
}

#[derive(Args)]
struct VersionFlags {
    /// Only the version number.
    #[arg(short, long)]
    short: bool,
    /// yaml or json.
    #[arg(short, long, default_value = "")]
    output: String,
}

fn main() -> ExitCode {
    let outcome = match Command::parse().action {
        Action::Server(flags) => serve(*flags),
        Action::Render(flags) => render(flags),
        Action::Dump(flags) => dump(flags),
        Action::Version(flags) => Format::from_flags(flags.short, &flags.output)
            .map(|format| version::print("operator", format))
            .map_err(|message| anyhow!(message)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: ServerFlags) -> anyhow::Result<()> {
    log::install(LogConfig::from_flags(
        &flags.log_output_level,
        flags.log_as_json,
    )?)?;
    tracing::info!(version = ironsail_mesh::VERSION, "Starting");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(server::run(flags.settings()))?;
    Ok(())
}

fn dump(flags: DumpFlags) -> anyhow::Result<()> {
    let context = flags.images.context();
    let Some(directory) = flags.write else {
        print!("{}", bundle::manifest(&context));
        return Ok(());
    };
    for (path, text) in bundle::files(&context) {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn render(flags: RenderFlags) -> anyhow::Result<()> {
    let mut text = String::new();
    if flags.filename.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input")?;
    } else {
        let name = flags.filename.display();
        text = std::fs::read_to_string(&flags.filename).with_context(|| name.to_string())?;
    }
    let object = yaml::document(&text).context("the file is no YAML document")?;
    let context = Context {
        kubernetes_version: flags.kubernetes_version,
        ..flags.images.context()
    };
    match render_object(&object, &context) {
        Ok(rendered) => {
            for warning in &rendered.warnings {
                eprintln!("Warning: {warning}");
            }
            for object in &rendered.objects {
                print!("---\n{}", yaml::to_string(&object.body()));
            }
            Ok(())
        }
        Err(findings) => {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            bail!("{}", findings.join("\n"))
        }
    }
}
