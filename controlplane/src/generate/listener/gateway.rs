//! Listeners of gateways.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ironsail_crds::networking::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};
use ironsail_mesh::host::matches;
use ironsail_mesh::port::Protocol;
use ironsail_xds::core::{TrafficDirection, TransportSocket};
use ironsail_xds::ext::filters::listener::proxy_protocol::v3::ProxyProtocol;
use ironsail_xds::ext::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use ironsail_xds::ext::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use ironsail_xds::ext::transport_sockets::tls::v3::tls_parameters::TlsProtocol as EnvoyTlsProtocol;
use ironsail_xds::ext::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters,
};
use ironsail_xds::listener::{FilterChain, FilterChainMatch, Listener, ListenerFilter};
use ironsail_xds::pack;

use crate::generate::connection_manager::{Manager, ManagerClass, ManagerTemplate, Routes};
use crate::generate::destination::{RouteClient, RouteScope};
use crate::generate::filter::Side;
use crate::generate::gateway::{GatewayServer, MergedGateways, ServerKind};
use crate::generate::listener::{listener_filter, name, timed, tls_inspector};
use crate::generate::tcp::{RuleChain, TcpFilters, tcp_chains, tls_chains};
use crate::generate::transport_socket::{
    self, Inside, combined_validation, discovery_secret, file_secret, strings,
};
use crate::generate::{Cache, Resource, message, route};
use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;

/// One listener per address and port of the proxy's Gateways.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    let class = ManagerClass::new(proxy, snapshot, Side::Gateway);
    let client = route::client(snapshot, proxy);
    let targets: Vec<_> = proxy
        .targets
        .iter()
        .map(|target| (target.port.port, target.target_port))
        .collect();
    let unprivileged = &proxy.node.metadata.unprivileged_pod;
    let slot = (
        "listeners_gateway",
        &class,
        &client,
        proxy.is_ipv6(),
        targets,
        unprivileged,
    );
    let inputs = (
        snapshot.services.generation,
        snapshot.gateways.generation,
        snapshot.virtual_services.generation,
        snapshot.destination_rules.generation,
        snapshot.mesh.generation,
    );
    let made = cache.get(slot, inputs, || {
        let builder = Builder {
            snapshot,
            class: &class,
            client: &client,
            template: ManagerTemplate::new(&class, &snapshot.mesh.config),
        };
        let merged = MergedGateways::new(snapshot, proxy);
        let listeners = merged.listeners.iter();
        listeners
            .filter_map(|((ip, port), servers)| builder.listener(*ip, *port, servers))
            .collect()
    });
    made.to_vec()
}

struct Builder<'a> {
    snapshot: &'a Snapshot,
    class: &'a ManagerClass,
    client: &'a RouteClient,
    template: ManagerTemplate,
}

impl Builder<'_> {
    /// `None` when no rule gives it anything to do.
    fn listener(&self, ip: IpAddr, port: u16, servers: &[GatewayServer]) -> Option<Resource> {
        let mut chains = Vec::new();
        let mut seen = BTreeSet::new();
        let mut is_http_done = false;
        for server in servers {
            match server.kind {
                ServerKind::Http if is_http_done => {}
                ServerKind::Http => {
                    is_http_done = true;
                    let is_grpc_web = servers
                        .iter()
                        .any(|server| server.protocol == Protocol::GrpcWeb);
                    chains.push(self.http_chain(ip, port, server, is_grpc_web));
                }
                ServerKind::Https => {
                    let chain = self.http_chain(ip, port, server, false);
                    chains.extend(self.terminated(chain, server));
                }
                ServerKind::TlsTermination => {
                    for chain in self.opaque_chains(server, &mut seen) {
                        chains.extend(self.terminated(chain, server));
                    }
                }
                ServerKind::Tcp | ServerKind::Passthrough => {
                    chains.extend(self.opaque_chains(server, &mut seen));
                }
            }
        }
        if chains.is_empty() {
            return None;
        }
        let needs_names = servers.iter().any(|server| server.kind.has_tls());
        let listener = Listener {
            name: name(ip, port),
            address: message::address(ip, port),
            traffic_direction: TrafficDirection::Outbound.into(),
            max_connections_to_accept_per_socket_event: message::uint32(1),
            listener_filters: self.listener_filters(needs_names),
            filter_chains: chains,
            ..Default::default()
        };
        Some(Resource::encode(listener.name.as_str(), &listener))
    }

    fn listener_filters(&self, needs_names: bool) -> Vec<ListenerFilter> {
        let mut filters = Vec::new();
        if self.class.proxy_protocol {
            let config = pack(&ProxyProtocol::default());
            filters.push(listener_filter(
                "envoy.filters.listener.proxy_protocol",
                config,
                None,
            ));
        }
        if needs_names {
            filters.push(tls_inspector(None));
        }
        filters
    }

    fn http_chain(
        &self,
        ip: IpAddr,
        port: u16,
        server: &GatewayServer,
        is_grpc_web: bool,
    ) -> FilterChain {
        timed(FilterChain {
            filters: vec![self.template.filter(Manager {
                stat_prefix: format!("outbound_{ip}_{port};"),
                routes: Routes::Named(server.route_name.clone()),
                is_http2: false,
                is_grpc_web,
            })],
            ..Default::default()
        })
    }

    /// The chain behind the server's own TLS; `None` when its certificate is not said.
    fn terminated(&self, chain: FilterChain, server: &GatewayServer) -> Option<FilterChain> {
        let tls = server.tls.as_ref()?;
        let inside = match server.kind {
            ServerKind::Https => Inside::Http,
            _ => Inside::Tcp,
        };
        let mut condition = chain.filter_chain_match.clone().unwrap_or_default();
        condition.server_names = server.server_names();
        Some(FilterChain {
            filter_chain_match: (condition != FilterChainMatch::default()).then_some(condition),
            transport_socket: Some(self.socket(tls, inside)?),
            ..chain
        })
    }

    /// TLS of a server; `None` when it has no certificate, because plaintext is no substitute.
    fn socket(&self, tls: &ServerTlsSettings, inside: Inside) -> Option<TransportSocket> {
        match tls.mode {
            ServerTlsMode::IstioMutual => Some(self.mutual_socket(tls, inside)),
            _ => own_socket(tls, inside),
        }
    }

    /// Mutual TLS of the mesh.
    fn mutual_socket(&self, tls: &ServerTlsSettings, inside: Inside) -> TransportSocket {
        let domains = self.snapshot.mesh.trust_domains();
        let can_exchange = self.class.has_istio_filters;
        let mut context = transport_socket::mutual_downstream(domains, inside, can_exchange);
        if let Some(common) = &mut context.common_tls_context
            && let Some(own) = parameters(tls)
        {
            common.tls_params = Some(own);
        }
        transport_socket::downstream(&context)
    }

    /// Chains of the TCP or TLS rules bound to a server.
    fn opaque_chains(
        &self,
        server: &GatewayServer,
        seen: &mut BTreeSet<String>,
    ) -> Vec<FilterChain> {
        let gateway = server.gateway.reference();
        let scope = RouteScope {
            snapshot: self.snapshot,
            client: self.client,
            gateway: &gateway,
            listen_port: server.port,
        };
        let mut chains: Vec<RuleChain> = Vec::new();
        let rules = self
            .snapshot
            .virtual_services
            .for_gateway(&gateway, &self.client.namespace);
        for rule in rules {
            if server.common_hosts(rule).is_empty() {
                continue;
            }
            if server.kind == ServerKind::Passthrough {
                let is_wanted = |name: &str| {
                    let mut hosts = server.hosts.iter();
                    hosts.any(|host| matches(&host.host, name) || host.host == name)
                };
                chains.extend(tls_chains(&scope, rule, is_wanted, seen));
            } else if !chains.iter().any(RuleChain::is_catch_all) {
                chains.extend(tcp_chains(&scope, rule));
            }
        }
        let filters = TcpFilters {
            side: Side::Gateway,
            has_istio_filters: self.class.has_istio_filters,
            mesh: &self.snapshot.mesh.config,
        };
        let chain = |chain: RuleChain| {
            let filter_chain_match = (!chain.is_catch_all()).then(|| FilterChainMatch {
                server_names: chain.server_names,
                prefix_ranges: chain.destinations,
                ..Default::default()
            });
            timed(FilterChain {
                filter_chain_match,
                filters: filters.chain(chain.target),
                ..Default::default()
            })
        };
        chains.into_iter().map(chain).collect()
    }
}

/// TLS with a certificate of the server's own.
fn own_socket(tls: &ServerTlsSettings, inside: Inside) -> Option<TransportSocket> {
    let is_mutual = matches!(
        tls.mode,
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual
    );
    let alpn = match inside {
        Inside::Http => strings(&["h2", "http/1.1"]),
        Inside::Tcp => Vec::new(),
    };
    let certificates = certificates(tls);
    if certificates.is_empty() {
        return None;
    }
    let validation = match is_mutual {
        true => Some(validation(tls)?),
        false => None,
    };
    let context = DownstreamTlsContext {
        require_client_certificate: message::boolean(tls.mode == ServerTlsMode::Mutual),
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: alpn,
            tls_params: parameters(tls),
            tls_certificate_sds_secret_configs: certificates,
            validation_context_type: validation,
            ..Default::default()
        }),
        ..Default::default()
    };
    Some(transport_socket::downstream(&context))
}

fn certificates(tls: &ServerTlsSettings) -> Vec<SdsSecretConfig> {
    let names = match tls.credential_name.as_str() {
        "" => tls.credential_names.clone(),
        name => vec![name.to_owned()],
    };
    if !names.is_empty() {
        let secret = |name: String| discovery_secret(format!("kubernetes://{name}"));
        return names.into_iter().map(secret).collect();
    }
    let single = (&tls.server_certificate, &tls.private_key);
    let listed = tls
        .tls_certificates
        .iter()
        .map(|files| (&files.server_certificate, &files.private_key));
    std::iter::once(single)
        .chain(listed)
        .filter(|(certificate, key)| !certificate.is_empty() && !key.is_empty())
        .map(|(certificate, key)| file_secret(format!("file-cert:{certificate}~{key}")))
        .collect()
}

/// How client certificates are verified; `None` when there is nothing to verify them with.
#[allow(deprecated)] // The untyped list of names is what proxies of the mesh read.
fn validation(tls: &ServerTlsSettings) -> Option<ValidationContextType> {
    let credential = [
        &tls.ca_cert_credential_name,
        &tls.credential_name,
        tls.credential_names.first().unwrap_or(&tls.credential_name),
    ];
    let authority = match credential.into_iter().find(|name| !name.is_empty()) {
        Some(name) => discovery_secret(format!("kubernetes://{name}-cacert")),
        None if !tls.ca_certificates.is_empty() => {
            file_secret(format!("file-root:{}", tls.ca_certificates))
        }
        None => return None,
    };
    let names = tls.subject_alt_names.iter().map(message::exact).collect();
    let mut combined = combined_validation(names, authority);
    if let Some(own) = &mut combined.default_validation_context {
        own.verify_certificate_spki
            .clone_from(&tls.verify_certificate_spki);
        own.verify_certificate_hash
            .clone_from(&tls.verify_certificate_hash);
        if tls.insecure_skip_verify == Some(true) {
            own.trust_chain_verification = TrustChainVerification::AcceptUntrusted.into();
        }
    }
    Some(ValidationContextType::CombinedValidationContext(combined))
}

/// Versions, ciphers and curves; `None` when the server says nothing of them.
fn parameters(tls: &ServerTlsSettings) -> Option<TlsParameters> {
    let version = |version: &TlsProtocol| match version {
        TlsProtocol::V1_0 => EnvoyTlsProtocol::TlSv10,
        TlsProtocol::V1_1 => EnvoyTlsProtocol::TlSv11,
        TlsProtocol::V1_2 => EnvoyTlsProtocol::TlSv12,
        TlsProtocol::V1_3 => EnvoyTlsProtocol::TlSv13,
        TlsProtocol::Auto | TlsProtocol::Unknown(_) => EnvoyTlsProtocol::TlsAuto,
    };
    let parameters = TlsParameters {
        tls_minimum_protocol_version: version(&tls.min_protocol_version).into(),
        tls_maximum_protocol_version: version(&tls.max_protocol_version).into(),
        cipher_suites: tls.cipher_suites.clone(),
        ecdh_curves: tls.ecdh_curves.clone(),
        ..Default::default()
    };
    (parameters != TlsParameters::default()).then_some(parameters)
}
