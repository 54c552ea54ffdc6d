//! Clusters: one per service port and subset, and the fixed ones of every proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ironsail_crds::networking::destination_rule::{ClientTlsMode, ClientTlsSettings, Subset};
use ironsail_mesh::identity::Identity;
use ironsail_mesh::port::Protocol;
use ironsail_mesh::xds_name::{
    BLACK_HOLE_CLUSTER, ClusterName, INBOUND_PASSTHROUGH_CLUSTER, PASSTHROUGH_CLUSTER,
};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::cluster::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
    TransportSocketMatch,
};
use ironsail_xds::core::{
    BindConfig, Http1ProtocolOptions, Http2ProtocolOptions,
    HttpProtocolOptions as CommonHttpOptions, UpstreamHttpProtocolOptions,
};
use ironsail_xds::ext::upstreams::http::v3::HttpProtocolOptions;
use ironsail_xds::ext::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use ironsail_xds::kind::Percent;
use ironsail_xds::ordered::{ClusterMetadata, Metadata, Struct, Value};
use ironsail_xds::{pack, protobuf};
use prost::Message;

use crate::generate::transport_socket::UpstreamScope;
use crate::generate::{
    Cache, Resource, filter, message, rule_of, traffic_policy, transport_socket,
};
use crate::model::authentication::MtlsMode;
use crate::model::destination_rule::{MergedRule, PortPolicy};
use crate::model::endpoint::EndpointSet;
use crate::model::mesh::Mesh;
use crate::model::proxy::{Proxy, ServiceTarget};
use crate::model::service::{Service, ServicePort};
use crate::model::snapshot::Snapshot;

const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Idle time after which connections to unknown destinations close.
const PASSTHROUGH_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// So long that destinations, once seen, are never forgotten: the same destination is always there.
const INBOUND_CLEANUP_INTERVAL: Duration = Duration::from_secs(9_223_372_035);

/// What a client contributes to the clusters of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClusterClass {
    is_router: bool,
    has_istio_filters: bool,
}

/// All clusters of a proxy.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    let class = ClusterClass {
        is_router: proxy.is_router(),
        has_istio_filters: proxy.node.capabilities.istio_filters,
    };
    let mut clusters = Vec::new();
    for service in snapshot.services.visible(proxy.namespace()) {
        if !service.is_alias() {
            clusters.extend_from_slice(&outbound(snapshot, proxy, class, service, cache));
        }
    }
    let fixed = cache.get(
        ("cluster", "fixed", class, proxy.is_ipv6()),
        snapshot.mesh.generation,
        || fixed_clusters(class, &snapshot.mesh, proxy.is_ipv6()),
    );
    // Order of the peer: black hole and pass-through before the inbound clusters, theirs last.
    let (last, first) = match fixed.split_last() {
        Some((last, first)) if !class.is_router => (Some(last), first),
        _ => (None, &*fixed),
    };
    clusters.extend_from_slice(first);
    if !class.is_router {
        clusters.extend(inbound(snapshot, proxy, class, cache));
    }
    clusters.extend(last.cloned());
    clusters
}

fn outbound(
    snapshot: &Snapshot,
    proxy: &Proxy,
    class: ClusterClass,
    service: &Arc<Service>,
    cache: &Cache,
) -> Arc<[Resource]> {
    let endpoints = snapshot.endpoints_of(service);
    let rule = rule_of(snapshot, proxy, service);
    let mtls = snapshot.authentication.namespace_mode(&service.namespace);
    let inputs = (
        service.generation,
        endpoints.map(|set| set.identity_generation),
        rule.map(|rule| (&rule.key, &rule.generations)),
        mtls,
        snapshot.mesh.generation,
    );
    cache.get(("cluster", &service.host, class), inputs, || {
        let scope = OutboundScope {
            class,
            mesh: &snapshot.mesh,
            service,
            endpoints: endpoints.map(|set| &**set),
            rule: rule.map(|rule| &**rule),
            mtls,
            identities: identities(&snapshot.mesh, endpoints.map(|set| &**set)),
        };
        let ports = service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp);
        ports.flat_map(|port| scope.port_clusters(port)).collect()
    })
}

/// Identities of a service's pods in every trust domain, sorted.
pub fn identities(mesh: &Mesh, endpoints: Option<&EndpointSet>) -> Vec<String> {
    let mut identities = Vec::new();
    for (namespace, account) in endpoints.iter().flat_map(|set| &set.accounts) {
        for domain in mesh.trust_domains() {
            identities.push(Identity::new(domain, &**namespace, &**account).to_string());
        }
    }
    identities.sort();
    identities.dedup();
    identities
}

/// Everything that the clusters of one service are made of.
struct OutboundScope<'a> {
    class: ClusterClass,
    mesh: &'a Mesh,
    service: &'a Service,
    endpoints: Option<&'a EndpointSet>,
    rule: Option<&'a MergedRule>,
    mtls: MtlsMode,
    identities: Vec<String>,
}

impl OutboundScope<'_> {
    /// The cluster of a port and those of its subsets.
    fn port_clusters(&self, port: &ServicePort) -> Vec<Resource> {
        let subsets = self.rule.map_or(&[][..], |rule| &rule.subsets);
        std::iter::once(None)
            .chain(subsets.iter().map(Some))
            .map(|subset| self.cluster(port, subset))
            .collect()
    }

    fn cluster(&self, port: &ServicePort, subset: Option<&Subset>) -> Resource {
        let subset_name = subset.map_or("", |subset| subset.name.as_str());
        let name = ClusterName::outbound(port.port, subset_name, &*self.service.host);
        let policy = self
            .rule
            .map(|rule| rule.port_policy(port.port, subset))
            .unwrap_or_default();
        let mut cluster = base(name.to_string(), self.mesh);
        cluster.circuit_breakers = Some(traffic_policy::circuit_breakers(
            policy.connection_pool,
            policy.retry_budget,
        ));
        self.apply_discovery(&mut cluster, &policy);
        let tcp = policy.connection_pool.and_then(|pool| pool.tcp.as_ref());
        traffic_policy::apply_tcp(&mut cluster, tcp);
        traffic_policy::apply_outlier_detection(
            &mut cluster,
            policy.outlier_detection,
            self.mesh.locality_enabled,
        );
        if self.class.has_istio_filters {
            cluster.filters.push(filter::cluster_metadata_exchange());
        }
        let options = self.http_options(port.protocol, &policy);
        set_http_options(&mut cluster, options.as_ref());
        self.apply_tls(&mut cluster, &name, port.protocol, &policy);
        if let Some(settings) = policy.proxy_protocol {
            transport_socket::announce_client(&mut cluster, settings);
        }
        let services = std::slice::from_ref(&self.service);
        let metadata = metadata(
            services,
            self.rule,
            subset.map(|subset| subset.name.as_str()),
        );
        encode(&cluster, Some(metadata))
    }

    /// Headless services keep the address that the caller chose; gateways, which have no such
    /// caller, balance.
    fn is_original_destination(&self, policy: &PortPolicy<'_>) -> bool {
        let is_headless = self.service.is_headless() && !self.class.is_router;
        is_headless || traffic_policy::is_passthrough(policy.load_balancer)
    }

    fn apply_discovery(&self, cluster: &mut Cluster, policy: &PortPolicy<'_>) {
        if self.is_original_destination(policy) {
            set_original_destination(cluster);
            cluster.common_lb_config = Some(CommonLbConfig::default());
            return;
        }
        cluster.cluster_discovery_type =
            Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        cluster.eds_cluster_config = Some(EdsClusterConfig {
            eds_config: Some(message::ads_config()),
            service_name: cluster.name.clone(),
        });
        // Few endpoints: sending to unhealthy ones because many are unhealthy helps nobody.
        cluster.common_lb_config = Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent::default()),
            ..Default::default()
        });
        traffic_policy::apply_load_balancer(cluster, policy.load_balancer);
    }

    fn http_options(
        &self,
        protocol: Protocol,
        policy: &PortPolicy<'_>,
    ) -> Option<HttpProtocolOptions> {
        let pool = policy.connection_pool;
        let http = pool.and_then(|pool| pool.http.as_ref());
        let mut options = HttpProtocolOptions {
            common_http_protocol_options: traffic_policy::common_http(pool),
            upstream_http_protocol_options: policy.tls.and_then(automatic_names),
            upstream_protocol_options: protocol_options(protocol, self.class.is_router, || {
                traffic_policy::http2(http)
            }),
            ..Default::default()
        };
        if self.is_upgraded(protocol, policy) {
            options.upstream_protocol_options = Some(explicit_http2(traffic_policy::http2(http)));
        }
        if http.is_some_and(|http| http.use_client_protocol) {
            options.upstream_protocol_options = Some(as_downstream(traffic_policy::http2(http)));
        }
        if options == HttpProtocolOptions::default() {
            return None;
        }
        // The message needs a choice of protocol once it is there.
        options
            .upstream_protocol_options
            .get_or_insert_with(explicit_http1);
        Some(options)
    }

    fn is_upgraded(&self, protocol: Protocol, policy: &PortPolicy<'_>) -> bool {
        let may_upgrade = (protocol.is_http() && !protocol.is_http2()) || protocol.is_unsupported();
        let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
        may_upgrade && traffic_policy::upgrades_to_http2(http, upgrades_by_default(self.mesh))
    }

    fn apply_tls(
        &self,
        cluster: &mut Cluster,
        name: &ClusterName,
        protocol: Protocol,
        policy: &PortPolicy<'_>,
    ) {
        let is_http2 = protocol.is_http2() || self.is_upgraded(protocol, policy);
        if let Some(settings) = policy.tls {
            let scope = UpstreamScope {
                cluster: name,
                identities: &self.identities,
                is_http2,
                can_exchange: self.class.has_istio_filters,
                has_credentials: self.class.is_router
                    || self.rule.is_some_and(|rule| rule.selector.is_some()),
            };
            cluster.transport_socket = transport_socket::of_settings(settings, &scope);
            return;
        }
        if !self.mesh.config.enable_auto_mtls() || self.mtls == MtlsMode::Disable {
            return;
        }
        let context = transport_socket::mutual_upstream(
            name.sni(),
            &self.identities,
            is_http2,
            self.class.has_istio_filters,
        );
        let socket = transport_socket::upstream(&context);
        if self.is_original_destination(policy) {
            // Without endpoints there is nothing to match on, so it is all or none.
            if self.endpoints.is_some_and(EndpointSet::all_accept_mtls) {
                cluster.transport_socket = Some(socket);
            }
            return;
        }
        cluster.transport_socket_matches = vec![
            TransportSocketMatch {
                name: "tlsMode-istio".to_owned(),
                r#match: Some(tls_mode_istio()),
                transport_socket: Some(socket),
            },
            TransportSocketMatch {
                name: "tlsMode-disabled".to_owned(),
                r#match: Some(protobuf::Struct::default()),
                transport_socket: Some(transport_socket::raw_buffer()),
            },
        ];
    }
}

/// One key, so its encoding is stable.
fn tls_mode_istio() -> protobuf::Struct {
    let value = protobuf::Value {
        kind: Some(protobuf::value::Kind::StringValue("istio".to_owned())),
    };
    protobuf::Struct {
        fields: [("tlsMode".to_owned(), value)].into(),
    }
}

fn upgrades_by_default(mesh: &Mesh) -> bool {
    mesh.config
        .other
        .get("h2UpgradePolicy")
        .is_some_and(|policy| policy == "UPGRADE")
}

/// TLS to servers outside: where a rule says no name, the request's is sent and expected.
fn automatic_names(tls: &ClientTlsSettings) -> Option<UpstreamHttpProtocolOptions> {
    if !matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
        return None;
    }
    let options = UpstreamHttpProtocolOptions {
        auto_sni: tls.sni.is_empty(),
        auto_san_validation: tls.subject_alt_names.is_empty()
            && tls.insecure_skip_verify != Some(true),
        ..Default::default()
    };
    (options != UpstreamHttpProtocolOptions::default()).then_some(options)
}

fn protocol_options(
    protocol: Protocol,
    is_router: bool,
    http2: impl FnOnce() -> Http2ProtocolOptions,
) -> Option<UpstreamProtocolOptions> {
    if protocol.is_http2() {
        return Some(explicit_http2(http2()));
    }
    // Gateways know which protocol they end, and have no sniffed one to follow.
    (protocol.is_unsupported() && !is_router).then(|| as_downstream(http2()))
}

fn explicit_http1() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::HttpProtocolOptions(
            Http1ProtocolOptions::default(),
        )),
    })
}

fn explicit_http2(options: Http2ProtocolOptions) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(options)),
    })
}

fn as_downstream(options: Http2ProtocolOptions) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(options),
        http3_protocol_options: None,
    })
}

/// One key, so the encoding of the map is stable.
fn set_http_options(cluster: &mut Cluster, options: Option<&HttpProtocolOptions>) {
    if let Some(options) = options {
        cluster
            .typed_extension_protocol_options
            .insert(HTTP_PROTOCOL_OPTIONS.to_owned(), pack(options));
    }
}

fn base(name: String, mesh: &Mesh) -> Cluster {
    Cluster {
        alt_stat_name: format!("{name};"),
        name,
        connect_timeout: message::duration(mesh.connect_timeout),
        ..Default::default()
    }
}

fn set_original_destination(cluster: &mut Cluster) {
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(
        DiscoveryType::OriginalDst.into(),
    ));
    cluster.lb_policy = LbPolicy::ClusterProvided.into();
}

/// The metadata field with several keys follows the rest, ordered.
fn encode(cluster: &Cluster, metadata: Option<Struct>) -> Resource {
    let mut body = cluster.encode_to_vec();
    if let Some(metadata) = metadata {
        let metadata = Metadata {
            filter_metadata: [("istio".to_owned(), metadata)].into(),
        };
        body.extend(
            ClusterMetadata {
                metadata: Some(metadata),
            }
            .encode_to_vec(),
        );
    }
    Resource::new(cluster.name.as_str(), body)
}

fn metadata(services: &[&Service], rule: Option<&MergedRule>, subset: Option<&str>) -> Struct {
    let services = services.iter().map(|service| {
        let service: Struct = [
            ("host", Value::from(&*service.host)),
            ("name", Value::from(&*service.name)),
            ("namespace", Value::from(&*service.namespace)),
        ]
        .into_iter()
        .collect();
        Value::from(service)
    });
    let mut fields = vec![("services", Value::from(services.collect::<Vec<_>>()))];
    if let Some(rule) = rule {
        let path = message::config_path("destination-rule", &rule.key.namespace, &rule.key.name);
        fields.push(("config", Value::from(path.as_str())));
    }
    if let Some(subset) = subset {
        fields.push(("subset", Value::from(subset)));
    }
    fields.into_iter().collect()
}

/// Where connections of the proxy to its own application come from, so that they are not captured.
fn own_address(is_ipv6: bool) -> BindConfig {
    let ip = match is_ipv6 {
        false => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
        true => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
    };
    BindConfig {
        source_address: Some(message::socket(ip, 0)),
        ..Default::default()
    }
}

/// Black hole for everybody; for sidecars pass-through, and last the inbound one.
fn fixed_clusters(class: ClusterClass, mesh: &Mesh, is_ipv6: bool) -> Vec<Resource> {
    let mut black_hole = base(BLACK_HOLE_CLUSTER.to_owned(), mesh);
    black_hole.cluster_discovery_type =
        Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
    let mut clusters = vec![encode(&black_hole, None)];
    if class.is_router {
        return clusters;
    }
    let mut passthrough = base(PASSTHROUGH_CLUSTER.to_owned(), mesh);
    set_original_destination(&mut passthrough);
    passthrough.circuit_breakers = Some(traffic_policy::circuit_breakers(None, None));
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(CommonHttpOptions {
            idle_timeout: message::duration(PASSTHROUGH_IDLE_TIMEOUT),
            ..Default::default()
        }),
        upstream_protocol_options: Some(as_downstream(Http2ProtocolOptions::default())),
        ..Default::default()
    };
    set_http_options(&mut passthrough, Some(&options));
    // The inbound one shares the statistics name of the outbound one, as with the peer.
    let inbound = Cluster {
        name: INBOUND_PASSTHROUGH_CLUSTER.to_owned(),
        upstream_bind_config: Some(own_address(is_ipv6)),
        ..passthrough.clone()
    };
    if class.has_istio_filters {
        passthrough
            .filters
            .push(filter::cluster_metadata_exchange());
    }
    clusters.push(encode(&passthrough, None));
    clusters.push(encode(&inbound, None));
    clusters
}

/// One cluster per port of the pod that services lead to, by port.
fn inbound(
    snapshot: &Snapshot,
    proxy: &Proxy,
    class: ClusterClass,
    cache: &Cache,
) -> Vec<Resource> {
    let mut ports: std::collections::BTreeMap<u16, Vec<&ServiceTarget>> =
        std::collections::BTreeMap::new();
    for target in &proxy.targets {
        if target.port.protocol != Protocol::Udp {
            ports.entry(target.target_port).or_default().push(target);
        }
    }
    let mut clusters = Vec::new();
    for (port, targets) in ports {
        let Some(first) = targets.first() else {
            continue;
        };
        let rule = rule_of(snapshot, proxy, &first.service);
        let services: Vec<_> = targets
            .iter()
            .map(|target| (&target.service.host, target.service.generation))
            .collect();
        let inputs = (
            services,
            first.port.protocol,
            rule.map(|rule| (&rule.key, &rule.generations)),
            snapshot.mesh.generation,
        );
        // Pods of one service share their inbound clusters; pods of several have their own slot.
        let slot = ("cluster", "inbound", class, proxy.is_ipv6(), port, &inputs);
        let made = cache.get(slot, (), || {
            let rule = rule.map(|rule| &**rule);
            vec![inbound_cluster(
                port,
                &targets,
                rule,
                &snapshot.mesh,
                proxy.is_ipv6(),
            )]
        });
        clusters.extend_from_slice(&made);
    }
    clusters
}

fn inbound_cluster(
    port: u16,
    targets: &[&ServiceTarget],
    rule: Option<&MergedRule>,
    mesh: &Mesh,
    is_ipv6: bool,
) -> Resource {
    let mut cluster = base(ClusterName::inbound(port).to_string(), mesh);
    set_original_destination(&mut cluster);
    cluster.common_lb_config = Some(CommonLbConfig::default());
    cluster.cleanup_interval = message::duration(INBOUND_CLEANUP_INTERVAL);
    cluster.upstream_bind_config = Some(own_address(is_ipv6));
    let first = targets.first();
    let policy = rule
        .zip(first)
        .map(|(rule, target)| rule.port_policy(target.port.port, None))
        .unwrap_or_default();
    // Limits of a rule protect the workload too; how clients balance is not its matter.
    cluster.circuit_breakers = Some(traffic_policy::circuit_breakers(
        policy.connection_pool,
        None,
    ));
    let tcp = policy.connection_pool.and_then(|pool| pool.tcp.as_ref());
    traffic_policy::apply_tcp(&mut cluster, tcp);
    let protocol = first.map_or(Protocol::Tcp, |target| target.port.protocol);
    let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
    let mut options = HttpProtocolOptions {
        common_http_protocol_options: traffic_policy::common_http(policy.connection_pool),
        upstream_protocol_options: protocol_options(protocol, false, || {
            traffic_policy::http2(http)
        }),
        ..Default::default()
    };
    if options != HttpProtocolOptions::default() {
        options
            .upstream_protocol_options
            .get_or_insert_with(explicit_http1);
        set_http_options(&mut cluster, Some(&options));
    }
    let mut services: Vec<&Service> = Vec::new();
    for target in targets {
        if !services
            .iter()
            .any(|known| known.host == target.service.host)
        {
            services.push(&target.service);
        }
    }
    encode(&cluster, Some(metadata(&services, rule, None)))
}
