//! Flags and environment of `pilot-discovery discovery`, with the peer's names.
//! <https://istio.io/latest/docs/reference/commands/pilot-discovery/>

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::Parser;
use ironsail_mesh::revision::{Revision, RevisionError};

/// Flags; those that this program has no use for are accepted and passed over.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "discovery",
    about = "Serves discovery, certificates and webhooks"
)]
pub struct Flags {
    /// Address of metrics and version.
    #[arg(long = "monitoringAddr", default_value = ":15014")]
    monitoring: String,
    /// Address of readiness and debugging.
    #[arg(long = "httpAddr", default_value = ":8080")]
    http: String,
    /// Address of the webhooks.
    #[arg(long = "httpsAddr", default_value = ":15017")]
    https: String,
    /// Address of plaintext discovery; empty turns it off.
    #[arg(long = "grpcAddr", default_value = ":15010")]
    grpc: String,
    /// Address of discovery and certificates over TLS.
    #[arg(long = "secureGRPCAddr", default_value = ":15012")]
    secure_grpc: String,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    domain: String,
    /// Log levels: `default:info,xds:debug`.
    #[arg(long = "log_output_level", default_value = "default:info")]
    log_output_level: String,
    #[arg(long = "log_as_json")]
    log_as_json: bool,
    /// Accepted: connections are kept as long as clients keep them.
    #[arg(long = "keepaliveMaxServerConnectionAge", default_value = "")]
    keepalive_max_age: String,
}

/// What one control plane is started with.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub monitoring: SocketAddr,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub grpc: Option<SocketAddr>,
    pub secure_grpc: SocketAddr,
    pub domain: String,
    pub log_output_level: String,
    pub log_as_json: bool,
    /// `POD_NAMESPACE`, default `istio-system`.
    pub namespace: String,
    /// `POD_NAME`: name in leader elections.
    pub pod: String,
    /// `REVISION`; `default` and empty are the same here, because the label is the same.
    pub revision: Revision,
    /// `CLUSTER_ID`, default `Kubernetes`.
    pub cluster_id: String,
    /// `ENABLE_NATIVE_SIDECARS`: true, false, or by the cluster's kubelets (`auto`, the default).
    pub native_sidecars: Option<bool>,
    /// `AUDIENCE`: who tokens of workloads are for; default `istio-ca`.
    pub audiences: Vec<String>,
    /// `ISTIOD_CUSTOM_HOST`: more names of the serving certificate.
    pub custom_hosts: Vec<String>,
}

/// Why a control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(transparent)]
    Flags(#[from] clap::Error),
    #[error("--{flag}: {value:?} is no address")]
    Address { flag: &'static str, value: String },
    #[error("REVISION")]
    Revision(#[from] RevisionError),
    #[error("ENABLE_NATIVE_SIDECARS: {0:?} is none of true, false, auto")]
    NativeSidecars(String),
}

impl Bootstrap {
    /// Reads what follows `discovery` on the command line; unknown flags are returned, not refused.
    ///
    /// # Errors
    /// A value does not parse.
    pub fn new(
        arguments: impl IntoIterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<String>), BootstrapError> {
        let (known, unknown) = split_unknown(arguments);
        let name = std::iter::once("discovery".to_owned());
        let flags = Flags::try_parse_from(name.chain(known))?;
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let revision = match variable("REVISION").as_deref() {
            None | Some(ironsail_mesh::revision::DEFAULT) => Revision::default(),
            Some(name) => Revision::parse(name)?,
        };
        let native_sidecars = match variable("ENABLE_NATIVE_SIDECARS").as_deref() {
            None | Some("auto") => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => return Err(BootstrapError::NativeSidecars(other.to_owned())),
        };
        let list = |text: Option<String>| -> Vec<String> {
            let text = text.unwrap_or_default();
            text.split(',')
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let mut audiences = list(variable("AUDIENCE"));
        if audiences.is_empty() {
            audiences.push("istio-ca".to_owned());
        }
        let bootstrap = Self {
            monitoring: address("monitoringAddr", &flags.monitoring)?,
            http: address("httpAddr", &flags.http)?,
            https: address("httpsAddr", &flags.https)?,
            grpc: match flags.grpc.as_str() {
                "" => None,
                text => Some(address("grpcAddr", text)?),
            },
            secure_grpc: address("secureGRPCAddr", &flags.secure_grpc)?,
            domain: flags.domain,
            log_output_level: flags.log_output_level,
            log_as_json: flags.log_as_json,
            namespace: variable("POD_NAMESPACE")
                .unwrap_or_else(|| ironsail_mesh::mesh_config::DEFAULT_ROOT_NAMESPACE.to_owned()),
            pod: variable("POD_NAME").unwrap_or_else(|| "istiod".to_owned()),
            revision,
            cluster_id: variable("CLUSTER_ID").unwrap_or_else(|| "Kubernetes".to_owned()),
            native_sidecars,
            audiences,
            custom_hosts: list(variable("ISTIOD_CUSTOM_HOST")),
        };
        Ok((bootstrap, unknown))
    }
}

/// Addresses as Go writes them: `:15010` is every address.
fn address(flag: &'static str, text: &str) -> Result<SocketAddr, BootstrapError> {
    let error = || BootstrapError::Address {
        flag,
        value: text.to_owned(),
    };
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| error())?;
        return Ok((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into());
    }
    text.replace("localhost", "127.0.0.1")
        .parse()
        .map_err(|_| error())
}

/// Separates flags of the peer that mean nothing here.
fn split_unknown(arguments: impl IntoIterator<Item = String>) -> (Vec<String>, Vec<String>) {
    const KNOWN: [&str; 9] = [
        "monitoringAddr",
        "httpAddr",
        "httpsAddr",
        "grpcAddr",
        "secureGRPCAddr",
        "domain",
        "log_output_level",
        "log_as_json",
        "keepaliveMaxServerConnectionAge",
    ];
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let mut is_value_of_known = false;
    for argument in arguments {
        match argument.strip_prefix("--") {
            Some(flag) => {
                let (name, value) = flag
                    .split_once('=')
                    .map_or((flag, None), |(n, v)| (n, Some(v)));
                let is_known = KNOWN.contains(&name) || matches!(name, "help");
                is_value_of_known = is_known && value.is_none();
                match is_known {
                    true => known.push(argument),
                    false => unknown.push(name.to_owned()),
                }
            }
            None if is_value_of_known => {
                known.push(argument);
                is_value_of_known = false;
            }
            // The value of a flag that is not known.
            None => {}
        }
    }
    (known, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, variables: &[(&str, &str)]) -> (Bootstrap, Vec<String>) {
        Bootstrap::new(line.split_whitespace().map(str::to_owned), |name| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .expect("a valid command line")
    }

    #[test]
    fn the_deployments_command_line() {
        let (bootstrap, unknown) = parse(
            "--monitoringAddr=:15014 --log_output_level=default:info --domain cluster.local --keepaliveMaxServerConnectionAge 30m --future=1 --other x",
            &[("REVISION", "default"), ("POD_NAMESPACE", "istio-system")],
        );
        assert_eq!(bootstrap.monitoring.port(), 15014);
        assert!(bootstrap.revision.is_default());
        assert_eq!(bootstrap.audiences, ["istio-ca"]);
        assert_eq!(unknown, ["future", "other"]);
        assert!(bootstrap.grpc.is_some());
    }

    #[test]
    fn plaintext_can_be_turned_off() {
        let (bootstrap, _) = parse("--grpcAddr=", &[("REVISION", "canary")]);
        assert!(bootstrap.grpc.is_none());
        assert_eq!(bootstrap.revision.label(), "canary");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |line: &str, variable: (&str, &str)| {
            let arguments = line.split_whitespace().map(str::to_owned);
            Bootstrap::new(arguments, |name| {
                (name == variable.0).then(|| variable.1.to_owned())
            })
            .expect_err("invalid")
            .to_string()
        };
        assert!(check("--httpAddr=x", ("", "")).contains("httpAddr"));
        assert!(check("", ("REVISION", "A b")).contains("REVISION"));
        assert!(check("", ("ENABLE_NATIVE_SIDECARS", "maybe")).contains("maybe"));
    }
}
