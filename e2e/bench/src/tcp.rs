//! Bulk bytes through two sidecars: into the client's, with mutual TLS into the server's, and out to a sink. One process
//! with one worker is both sidecars, as a pod's that calls itself, so that one core's work on both ends is measured.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ironsail_peer::{Envoy, Process, free_port};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::core::{
    DataSource, SubstitutionFormatString, TrafficDirection, TransportSocket, data_source,
    substitution_format_string, transport_socket,
};
use ironsail_xds::ext::access_loggers::file::v3 as file;
use ironsail_xds::ext::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier};
use ironsail_xds::ext::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use ironsail_xds::ext::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    TlsParameters, UpstreamTlsContext, tls_parameters::TlsProtocol,
};
use ironsail_xds::istio::PluginConfig;
use ironsail_xds::listener::{Filter, FilterChain, Listener, filter};
use ironsail_xds::matcher::{StringMatcher, string_matcher};
use ironsail_xds::protobuf::BoolValue;
use ironsail_xds::{Any, accesslog, bootstrap, pack};

use crate::bulk;
use crate::config::{address, cluster};
use crate::http::Effort;
use crate::machine::{self, OTHER_CORE, on_core};
use crate::mesh::Named;
use crate::peer::{self, Agent, Programs};
use crate::plain_envoy::secrets;
use crate::report::{Bound, Figure, Report, median};
use crate::turns::take_turns;

const CONNECTIONS: usize = 8;
const GIB: f64 = (1_u64 << 30) as f64;
const WARM_UP: Duration = Duration::from_secs(1);
/// Envoy writes its access log every ten seconds.
const LOG_DELAY: Duration = Duration::from_secs(15);

/// Who the agent is, and everybody here.
const IDENTITY: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
const OUTBOUND: &str = "outbound|9000||store.default.svc.cluster.local";
const INBOUND: &str = "inbound|9000||";

/// Ports of one process.
struct Sidecars {
    client: u16,
    server: u16,
    sink: u16,
    /// Where the server's side logs what each connection agreed on.
    log: PathBuf,
}

struct Subject {
    name: &'static str,
    pid: u32,
    sidecars: Sidecars,
}

/// One transfer through one proxy.
struct Turn {
    gib_per_second: f64,
    cpu_per_gib: f64,
}

/// Throughput and CPU time of ours against Envoy's.
pub fn throughput(
    programs: &Programs,
    directory: &Path,
    effort: Effort,
    report: &mut Report,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let sink = free_port()?;
    let _sink = start_sink(sink, directory)?;
    let (ours, theirs) = (
        Sidecars::new(sink, &directory.join("ironsail.log"))?,
        Sidecars::new(sink, &directory.join("envoy.log"))?,
    );
    let agent = Agent::start(programs, ours.resources(), directory)?;
    let envoy = theirs.start_envoy(programs, &agent, directory)?;
    let subject = |name, process: &Process, sidecars| Subject {
        name,
        pid: process.id(),
        sidecars,
    };
    let subjects = [
        subject(peer::IRONSAIL, &agent.process, ours),
        subject(peer::ENVOY, &envoy.process, theirs),
    ];
    for subject in &subjects {
        subject.turn(WARM_UP)?;
    }
    let all = take_turns(&subjects, effort.rounds, |subject| {
        subject.turn(effort.duration)
    })?;
    summarize(&subjects, &all, report)
}

fn summarize(subjects: &[Subject], all: &[Vec<Turn>], report: &mut Report) -> anyhow::Result<()> {
    let medians = |value: fn(&Turn) -> f64| -> Vec<f64> {
        let medians = all.iter().map(|turns| median(turns.iter().map(value)));
        medians.collect()
    };
    let rates = medians(|turn| turn.gib_per_second);
    let costs = medians(|turn| turn.cpu_per_gib);
    report.section(&format!(
        "TCP through two sidecars with mutual TLS, {CONNECTIONS} connections"
    ));
    let mut suites = Vec::new();
    for (subject, (rate, cost)) in subjects.iter().zip(rates.iter().zip(&costs)) {
        let (name, suite) = (subject.name, subject.suite()?);
        report.line(format!(
            "{name:<9} {rate:>5.2} GiB per second, {cost:>5.2} s CPU per GiB, {suite}"
        ));
        suites.push(suite);
    }
    suites.dedup();
    if suites.len() > 1 {
        // Their figures cannot be compared.
        bail!("not the same cipher suite: {suites:?}");
    }
    let ratio = |values: &[f64]| match values {
        [ours, envoy] => ours / envoy,
        _ => f64::NAN,
    };
    report.figure(Figure {
        name: "TCP throughput with mutual TLS, ours / Envoy".to_owned(),
        value: ratio(&rates),
        unit: "x",
        bound: Bound::AtLeast(1.0),
    });
    report.figure(Figure {
        name: "TCP with mutual TLS, CPU per GiB, ours / Envoy".to_owned(),
        value: ratio(&costs),
        unit: "x",
        bound: Bound::AtMost(1.0),
    });
    Ok(())
}

fn start_sink(port: u16, directory: &Path) -> anyhow::Result<Process> {
    let mut command = on_core(OTHER_CORE, std::env::current_exe()?);
    command.args([bulk::SINK, "--port", &port.to_string()]);
    let mut process = Process::start(bulk::SINK, command, directory)?;
    process.wait_for_port(port)?;
    Ok(process)
}

impl Subject {
    fn turn(&self, duration: Duration) -> anyhow::Result<Turn> {
        let before = machine::cpu_time(self.pid)?;
        let transfer = bulk::transfer(self.sidecars.client, CONNECTIONS, duration)
            .with_context(|| format!("bytes through {}", self.name))?;
        let used = machine::cpu_time(self.pid)?.saturating_sub(before);
        let gib = transfer.bytes as f64 / GIB;
        Ok(Turn {
            gib_per_second: gib / transfer.duration.as_secs_f64(),
            cpu_per_gib: used.as_secs_f64() / gib,
        })
    }

    /// Version and cipher suite of the last connection that is logged.
    fn suite(&self) -> anyhow::Result<String> {
        let end = Instant::now() + LOG_DELAY;
        loop {
            let log = std::fs::read_to_string(&self.sidecars.log).unwrap_or_default();
            if let Some(line) = log.lines().last() {
                return Ok(line.to_owned());
            }
            if Instant::now() > end {
                bail!("{} logs no connection", self.name);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Sidecars {
    fn new(sink: u16, log: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            client: free_port()?,
            server: free_port()?,
            sink,
            log: log.to_owned(),
        })
    }

    /// As a sidecar gets it: with Istio's metrics.
    fn resources(&self) -> Vec<Named> {
        let stats = || network_filter("istio.stats", pack(&PluginConfig::default()));
        let listeners = self
            .listeners(&|| vec![stats()])
            .into_iter()
            .map(|one| Named {
                name: one.name.clone(),
                body: pack(&one),
            });
        let clusters = self.clusters().into_iter().map(|one| Named {
            name: one.name.clone(),
            body: pack(&one),
        });
        clusters.chain(listeners).collect()
    }

    /// The same, but for the filter that Envoy lacks; its certificate is of the agent's authority.
    fn start_envoy(
        &self,
        programs: &Programs,
        agent: &Agent,
        directory: &Path,
    ) -> anyhow::Result<Envoy> {
        let told = bootstrap::Bootstrap {
            static_resources: Some(bootstrap::bootstrap::StaticResources {
                listeners: self.listeners(&Vec::new).into(),
                clusters: self.clusters().into(),
                secrets: secrets(&agent.authority().issue(IDENTITY)?),
            }),
            ..Default::default()
        };
        peer::start_envoy(programs, &told, self.client, directory)
    }

    fn clusters(&self) -> [Cluster; 2] {
        let tls = UpstreamTlsContext {
            common_tls_context: Some(mutual_tls()),
            sni: OUTBOUND.to_owned(),
            ..Default::default()
        };
        let outbound = Cluster {
            transport_socket: Some(tls_socket(pack(&tls))),
            ..cluster(OUTBOUND, self.server)
        };
        [outbound, cluster(INBOUND, self.sink)]
    }

    fn listeners(&self, first: &dyn Fn() -> Vec<Filter>) -> [Listener; 2] {
        let tls = DownstreamTlsContext {
            common_tls_context: Some(mutual_tls()),
            require_client_certificate: Some(BoolValue { value: true }),
            ..Default::default()
        };
        let chain = |cluster, access_log| FilterChain {
            filters: [first(), vec![tcp_proxy(cluster, access_log)]].concat(),
            ..Default::default()
        };
        let outbound = Listener {
            name: "store".to_owned(),
            address: Some(address(self.client)),
            traffic_direction: TrafficDirection::Outbound.into(),
            filter_chains: vec![chain(OUTBOUND, Vec::new())],
            ..Default::default()
        };
        let inbound = Listener {
            name: "virtualInbound".to_owned(),
            address: Some(address(self.server)),
            traffic_direction: TrafficDirection::Inbound.into(),
            filter_chains: vec![FilterChain {
                transport_socket: Some(tls_socket(pack(&tls))),
                ..chain(INBOUND, vec![suite_log(&self.log)])
            }],
            ..Default::default()
        };
        [outbound, inbound]
    }
}

/// Our certificate, and peers of the same authority with the one identity.
#[allow(deprecated)] // The control plane uses the untyped list, too.
fn mutual_tls() -> CommonTlsContext {
    let secret = |name: &str| SdsSecretConfig {
        name: name.to_owned(),
        ..Default::default()
    };
    let identity = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(IDENTITY.to_owned())),
        ..Default::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_subject_alt_names: vec![identity],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..Default::default()
    };
    CommonTlsContext {
        // Envoy's clients stop at 1.2 unless they are told.
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..Default::default()
        }),
        alpn_protocols: vec!["istio".to_owned()],
        tls_certificate_sds_secret_configs: vec![secret("default")],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

fn tls_socket(context: Any) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(context)),
    }
}

fn tcp_proxy(cluster: &str, access_log: Vec<accesslog::AccessLog>) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        access_log,
        ..Default::default()
    };
    network_filter("envoy.filters.network.tcp_proxy", pack(&proxy))
}

fn network_filter(name: &str, config: Any) -> Filter {
    Filter {
        name: name.to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(config)),
    }
}

fn suite_log(path: &Path) -> accesslog::AccessLog {
    let text = "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%\n".to_owned();
    let format = SubstitutionFormatString {
        format: Some(substitution_format_string::Format::TextFormatSource(
            DataSource {
                specifier: Some(data_source::Specifier::InlineString(text)),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let log = file::FileAccessLog {
        path: path.display().to_string(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(pack(&log))),
        ..Default::default()
    }
}
