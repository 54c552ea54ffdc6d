//! Command line and environment of `istio-iptables`.

use std::net::IpAddr;

use clap::Parser;

/// User id of the proxy.
const PROXY_UID: &str = "1337";

/// Flags as users and the injector write them.
#[derive(Parser, Debug, Clone)]
#[command(
    name = "istio-iptables",
    about = "Redirects a pod's traffic to its proxy"
)]
struct Flags {
    /// Port that captured outbound traffic goes to.
    #[arg(short = 'p', long, env = "ENVOY_PORT", default_value = "15001")]
    envoy_port: u16,
    /// Port that captured inbound traffic goes to.
    #[arg(
        short = 'z',
        long,
        env = "INBOUND_CAPTURE_PORT",
        default_value = "15006"
    )]
    inbound_capture_port: u16,
    /// Port of HBONE tunnels, never captured.
    #[arg(
        short = 'e',
        long,
        env = "INBOUND_TUNNEL_PORT",
        default_value = "15008"
    )]
    inbound_tunnel_port: u16,
    /// User ids whose outbound traffic is not captured.
    #[arg(short = 'u', long, env = "PROXY_UID", default_value = "")]
    proxy_uid: String,
    /// Group ids whose outbound traffic is not captured; the user ids when absent.
    #[arg(short = 'g', long, env = "PROXY_GID", default_value = "")]
    proxy_gid: String,
    /// REDIRECT or TPROXY.
    #[arg(
        short = 'm',
        long,
        env = "ISTIO_INBOUND_INTERCEPTION_MODE",
        default_value = "REDIRECT"
    )]
    istio_inbound_interception_mode: String,
    /// Mark of inbound packets with TPROXY.
    #[arg(
        short = 't',
        long,
        env = "ISTIO_INBOUND_TPROXY_MARK",
        default_value = "1337"
    )]
    istio_inbound_tproxy_mark: u32,
    /// Routing table of marked packets with TPROXY.
    #[arg(
        short = 'r',
        long,
        env = "ISTIO_INBOUND_TPROXY_ROUTE_TABLE",
        default_value = "133"
    )]
    istio_inbound_tproxy_route_table: u32,
    /// Inbound ports to capture: `*`, or a list.
    #[arg(short = 'b', long, env = "ISTIO_INBOUND_PORTS", default_value = "")]
    istio_inbound_ports: String,
    /// Inbound ports to leave alone when all are captured.
    #[arg(
        short = 'd',
        long,
        env = "ISTIO_LOCAL_EXCLUDE_PORTS",
        default_value = ""
    )]
    istio_local_exclude_ports: String,
    /// Outbound address ranges to capture: `*`, or a list.
    #[arg(short = 'i', long, env = "ISTIO_SERVICE_CIDR", default_value = "")]
    istio_service_cidr: String,
    /// Outbound address ranges to leave alone.
    #[arg(
        short = 'x',
        long,
        env = "ISTIO_SERVICE_EXCLUDE_CIDR",
        default_value = ""
    )]
    istio_service_exclude_cidr: String,
    /// Outbound ports to capture whatever their address.
    #[arg(short = 'q', long, env = "ISTIO_OUTBOUND_PORTS", default_value = "")]
    istio_outbound_ports: String,
    /// Outbound ports to leave alone.
    #[arg(
        short = 'o',
        long,
        env = "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
        default_value = ""
    )]
    istio_local_outbound_ports_exclude: String,
    /// Interfaces whose traffic is left alone.
    #[arg(
        short = 'c',
        long,
        env = "ISTIO_EXCLUDE_INTERFACES",
        default_value = ""
    )]
    istio_exclude_interfaces: String,
    /// Interfaces of virtual machines, whose inbound traffic counts as outbound.
    #[arg(short = 'k', long, env = "KUBE_VIRT_INTERFACES", default_value = "")]
    kube_virt_interfaces: String,
    /// Prints the rules instead of applying them.
    #[arg(short = 'n', long, env = "DRY_RUN")]
    dry_run: bool,
    /// Removes the rules.
    #[arg(long, env = "CLEANUP_ONLY")]
    cleanup_only: bool,
    /// Captures DNS; not offered.
    #[arg(long, env = "REDIRECT_DNS")]
    redirect_dns: bool,
    /// Accepted, because rules are always applied to nf_tables.
    #[arg(long, env = "NATIVE_NFTABLES")]
    native_nftables: bool,
    /// Accepted, because applying twice changes nothing.
    #[arg(long, env = "FORCE_IPTABLES_APPLY")]
    force_apply: bool,
    #[arg(long = "log_output_level", default_value = "")]
    log_output_level: String,
    #[arg(long = "log_as_json")]
    log_as_json: bool,
}

/// What to redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub outbound_port: u16,
    pub inbound_port: u16,
    pub tunnel_port: u16,
    pub uids: Vec<u32>,
    pub gids: Vec<u32>,
    /// How inbound connections keep the addresses of both ends; they are redirected without.
    pub transparent: Option<Transparent>,
    pub inbound: Ports,
    pub inbound_exclude: Vec<u16>,
    pub outbound: Ranges,
    pub outbound_exclude: Vec<Cidr>,
    pub outbound_ports: Vec<u16>,
    pub outbound_ports_exclude: Vec<u16>,
    pub exclude_interfaces: Vec<String>,
    pub virtual_interfaces: Vec<String>,
    pub dry_run: bool,
    pub cleanup_only: bool,
}

/// Interception mode TPROXY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transparent {
    /// Of packets that are delivered here whatever their address; default 1337.
    pub mark: u32,
    /// Routing table of such packets; default 133.
    pub route_table: u32,
}

impl Default for Transparent {
    fn default() -> Self {
        Self {
            mark: 1337,
            route_table: 133,
        }
    }
}

/// Ports to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    All,
    Only(Vec<u16>),
}

/// Address ranges to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    All,
    Only(Vec<Cidr>),
}

/// An address range; bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

/// Why the command line cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error(transparent)]
    Flags(#[from] clap::Error),
    #[error("{flag}: {value:?} is no {what}")]
    Value {
        flag: &'static str,
        value: String,
        what: &'static str,
    },
    #[error("{0} is not offered by this version")]
    NotOffered(&'static str),
}

impl Options {
    /// Reads the flags after the program's name, with the peer's environment variables as defaults.
    ///
    /// # Errors
    /// A flag is unknown, a value does not parse, or a mode is not offered.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, OptionsError> {
        let name = std::iter::once("istio-iptables".to_owned());
        Self::try_from(Flags::try_parse_from(name.chain(arguments))?)
    }
}

impl TryFrom<Flags> for Options {
    type Error = OptionsError;

    fn try_from(flags: Flags) -> Result<Self, Self::Error> {
        let transparent = match flags.istio_inbound_interception_mode.as_str() {
            "REDIRECT" | "" => None,
            "TPROXY" => Some(Transparent {
                mark: flags.istio_inbound_tproxy_mark,
                route_table: flags.istio_inbound_tproxy_route_table,
            }),
            other => {
                return Err(OptionsError::Value {
                    flag: "--istio-inbound-interception-mode",
                    value: other.to_owned(),
                    what: "interception mode",
                });
            }
        };
        if flags.redirect_dns {
            return Err(OptionsError::NotOffered("--redirect-dns"));
        }
        let uid = match flags.proxy_uid.as_str() {
            "" => PROXY_UID,
            uid => uid,
        };
        let gid = match flags.proxy_gid.as_str() {
            "" => uid,
            gid => gid,
        };
        let inbound = match flags.istio_inbound_ports.trim() {
            "*" => Ports::All,
            list => Ports::Only(ports("--istio-inbound-ports", list)?),
        };
        let outbound = match flags.istio_service_cidr.trim() {
            "*" => Ranges::All,
            list => Ranges::Only(cidrs("--istio-service-cidr", list)?),
        };
        Ok(Self {
            outbound_port: flags.envoy_port,
            inbound_port: flags.inbound_capture_port,
            tunnel_port: flags.inbound_tunnel_port,
            uids: numbers("--proxy-uid", uid, "user id")?,
            gids: numbers("--proxy-gid", gid, "group id")?,
            transparent,
            inbound,
            inbound_exclude: ports(
                "--istio-local-exclude-ports",
                &flags.istio_local_exclude_ports,
            )?,
            outbound,
            outbound_exclude: cidrs(
                "--istio-service-exclude-cidr",
                &flags.istio_service_exclude_cidr,
            )?,
            outbound_ports: ports("--istio-outbound-ports", &flags.istio_outbound_ports)?,
            outbound_ports_exclude: ports(
                "--istio-local-outbound-ports-exclude",
                &flags.istio_local_outbound_ports_exclude,
            )?,
            exclude_interfaces: items(&flags.istio_exclude_interfaces),
            virtual_interfaces: items(&flags.kube_virt_interfaces),
            dry_run: flags.dry_run,
            cleanup_only: flags.cleanup_only,
        })
    }
}

fn items(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn numbers<T: std::str::FromStr>(
    flag: &'static str,
    list: &str,
    what: &'static str,
) -> Result<Vec<T>, OptionsError> {
    items(list)
        .into_iter()
        .map(|item| {
            item.parse().map_err(|_| OptionsError::Value {
                flag,
                value: item,
                what,
            })
        })
        .collect()
}

fn ports(flag: &'static str, list: &str) -> Result<Vec<u16>, OptionsError> {
    numbers(flag, list, "port")
}

fn cidrs(flag: &'static str, list: &str) -> Result<Vec<Cidr>, OptionsError> {
    items(list)
        .into_iter()
        .map(|item| {
            Cidr::parse(&item).ok_or(OptionsError::Value {
                flag,
                value: item,
                what: "address range",
            })
        })
        .collect()
}

impl Cidr {
    /// Parses `address/prefix`; an address alone is a range of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, prefix.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        let address = match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
            _ => return None,
        };
        Some(Self { address, prefix })
    }
}
