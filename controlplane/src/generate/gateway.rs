//! The servers of all Gateways that select a proxy, merged by the address they listen on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ironsail_crds::networking::gateway::{Server, ServerTlsMode, ServerTlsSettings};
use ironsail_mesh::host::matches;
use ironsail_mesh::port::Protocol;

use crate::generate::tcp::is_server_name;
use crate::model::gateway::{Gateway, ServerHost};
use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;
use crate::model::virtual_service::VirtualService;

/// What a server speaks, as far as the shape of its listener goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerKind {
    /// Plain HTTP: all servers of an address share one route table.
    Http,
    /// HTTP inside TLS that ends here.
    Https,
    /// Opaque bytes inside TLS that ends here.
    TlsTermination,
    /// TLS that ends elsewhere, chosen by server name.
    Passthrough,
    Tcp,
}

impl ServerKind {
    /// `None` for combinations that validation refuses, and for `AUTO_PASSTHROUGH`, which joins
    /// networks: there is only one here.
    fn of(server: &Server) -> Option<Self> {
        let protocol = Protocol::parse(&server.port.protocol);
        if protocol.is_http() {
            return Some(Self::Http);
        }
        let mode = server.tls.as_ref().map(|tls| &tls.mode);
        match (protocol, mode) {
            (Protocol::Https | Protocol::Tls, Some(ServerTlsMode::Passthrough)) => {
                Some(Self::Passthrough)
            }
            (_, Some(ServerTlsMode::AutoPassthrough)) => None,
            (_, Some(ServerTlsMode::Unknown(_))) => None,
            (Protocol::Https, Some(_)) => Some(Self::Https),
            (Protocol::Tls, Some(_)) => Some(Self::TlsTermination),
            (Protocol::Tcp | Protocol::Mongo | Protocol::Mysql | Protocol::Redis, None) => {
                Some(Self::Tcp)
            }
            (Protocol::Tcp | Protocol::Mongo | Protocol::Mysql | Protocol::Redis, Some(_)) => {
                Some(Self::TlsTermination)
            }
            _ => None,
        }
    }

    pub fn has_tls(self) -> bool {
        !matches!(self, Self::Http | Self::Tcp)
    }
}

/// One server of one Gateway.
#[derive(Clone, Debug)]
pub struct GatewayServer {
    pub gateway: Arc<Gateway>,
    pub kind: ServerKind,
    pub hosts: Vec<ServerHost>,
    /// Port as the Gateway declares it, which rules and names of virtual hosts use.
    pub port: u16,
    pub protocol: Protocol,
    /// Table of its routes; empty unless it speaks HTTP.
    pub route_name: String,
    pub tls: Option<ServerTlsSettings>,
}

impl GatewayServer {
    pub fn redirects_to_https(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }

    /// Hosts that a rule and this server have in common: of each pair that overlaps, the narrower one.
    pub fn common_hosts(&self, rule: &VirtualService) -> BTreeSet<String> {
        let own = self.hosts.iter().filter(|own| {
            let namespace = own.namespace.as_ref();
            namespace.is_none_or(|namespace| **namespace == *rule.key.namespace)
        });
        own.flat_map(|own| {
            let hosts = rule.hosts.iter();
            hosts.filter_map(|host| narrower(&own.host, host))
        })
        .map(str::to_owned)
        .collect()
    }

    /// Server names that choose this server; empty is any.
    pub fn server_names(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.hosts.iter().map(|host| host.host.clone()).collect();
        match names.contains("*") {
            true => Vec::new(),
            false => names.into_iter().collect(),
        }
    }
}

/// The narrower of two hosts; `None` when no name falls under both.
fn narrower<'a>(server: &'a str, rule: &'a str) -> Option<&'a str> {
    if server.eq_ignore_ascii_case(rule) || matches(server, rule) {
        return Some(rule);
    }
    matches(rule, server).then_some(server)
}

/// Address and port of a listener.
pub type ListenAddress = (IpAddr, u16);

/// All servers of a proxy by address, oldest Gateway first.
#[derive(Clone, Debug, Default)]
pub struct MergedGateways {
    pub listeners: BTreeMap<ListenAddress, Vec<GatewayServer>>,
}

impl MergedGateways {
    pub fn new(snapshot: &Snapshot, proxy: &Proxy) -> Self {
        let mut merged = Self::default();
        for gateway in snapshot.gateways.for_labels(&proxy.labels) {
            for server in &gateway.spec.servers {
                merged.add(proxy, gateway, server);
            }
        }
        for servers in merged.listeners.values_mut() {
            keep_names_once(servers);
        }
        merged
    }

    fn add(&mut self, proxy: &Proxy, gateway: &Arc<Gateway>, server: &Server) {
        let (Some(kind), Ok(port)) = (ServerKind::of(server), u16::try_from(server.port.number))
        else {
            return;
        };
        let Some(ip) = bind_address(server, proxy) else {
            return;
        };
        for target in target_ports(server, port, proxy) {
            if target < 1024 && is_unprivileged(proxy) {
                continue;
            }
            let route_name = route_name(kind, gateway, server, target);
            let servers = self.listeners.entry((ip, target)).or_default();
            // The first server decides what the address speaks; others cannot be told apart from it.
            if servers
                .first()
                .is_some_and(|first| !can_share(first.kind, kind))
            {
                continue;
            }
            servers.push(GatewayServer {
                gateway: gateway.clone(),
                kind,
                hosts: server
                    .hosts
                    .iter()
                    .map(|host| ServerHost::parse(host, &gateway.key.namespace))
                    .collect(),
                port,
                protocol: Protocol::parse(&server.port.protocol),
                route_name,
                tls: server.tls.clone(),
            });
        }
    }

    /// The servers of a route table.
    pub fn of_table(&self, name: &str) -> Vec<&GatewayServer> {
        self.listeners
            .values()
            .flatten()
            .filter(|server| server.route_name == name)
            .collect()
    }
}

fn can_share(first: ServerKind, other: ServerKind) -> bool {
    match first {
        ServerKind::Http => other == ServerKind::Http,
        ServerKind::Tcp => false,
        _ => other.has_tls(),
    }
}

/// A server name chooses one chain: the first server that has it. Servers without any left are dropped.
fn keep_names_once(servers: &mut Vec<GatewayServer>) {
    let mut seen = BTreeSet::new();
    servers.retain_mut(|server| {
        // Chains of pass-through servers come from rules, and are checked there.
        if !server.kind.has_tls() || server.kind == ServerKind::Passthrough {
            return true;
        }
        server
            .hosts
            .retain(|host| is_server_name(&host.host) && seen.insert(host.host.clone()));
        !server.hosts.is_empty()
    });
}

/// The address to listen on; `None` for sockets in the file system, which are not served.
fn bind_address(server: &Server, proxy: &Proxy) -> Option<IpAddr> {
    match server.bind.as_str() {
        "" => Some(wildcard(proxy.is_ipv6())),
        text => text.parse().ok(),
    }
}

/// Every address of a family.
pub fn wildcard(is_ipv6: bool) -> IpAddr {
    match is_ipv6 {
        false => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        true => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Ports of the pod: where the Service of the gateway leads the declared port, else that port itself.
fn target_ports(server: &Server, port: u16, proxy: &Proxy) -> BTreeSet<u16> {
    let of_services: BTreeSet<u16> = proxy
        .targets
        .iter()
        .filter(|target| target.port.port == port)
        .map(|target| target.target_port)
        .collect();
    let own = server
        .port
        .target_port
        .and_then(|port| u16::try_from(port).ok());
    match (own.filter(|own| *own != 0), of_services.is_empty()) {
        (Some(own), _) => [own].into(),
        (None, false) => of_services,
        (None, true) => [port].into(),
    }
}

fn is_unprivileged(proxy: &Proxy) -> bool {
    proxy.node.metadata.unprivileged_pod.as_deref() == Some("true")
}

fn route_name(kind: ServerKind, gateway: &Gateway, server: &Server, target: u16) -> String {
    let bind = match server.bind.as_str() {
        "" => String::new(),
        address => format!(".{address}"),
    };
    match kind {
        ServerKind::Http => format!("http.{target}{bind}"),
        ServerKind::Https => format!(
            "https.{}.{}.{}.{}{bind}",
            server.port.number, server.port.name, gateway.key.name, gateway.key.namespace
        ),
        _ => String::new(),
    }
}
