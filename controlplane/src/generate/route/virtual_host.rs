//! Virtual hosts and the tables around them.

use std::collections::BTreeSet;

use bytes::Bytes;
use ironsail_mesh::xds_name::{ClusterName, PASSTHROUGH_CLUSTER};
use ironsail_xds::ordered::{RouteConfiguration, VirtualHost};
use ironsail_xds::route::route::Action;
use ironsail_xds::route::route_action::ClusterSpecifier;
use ironsail_xds::route::virtual_host::TlsRequirementType;
use ironsail_xds::route::{Decorator, DirectResponseAction, Route, RouteAction};
use prost::Message;
use std::time::Duration;

use crate::generate::destination::{RouteClient, RouteScope};
use crate::generate::route::action::MAX_DIRECT_RESPONSE_BYTES;
use crate::generate::route::virtual_service::EncodedRoute;
use crate::generate::route::{matcher, policy, retry};
use crate::generate::{Resource, message};
use crate::model::service::Service;

/// A virtual host in the making.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub domains: Vec<String>,
    pub routes: Vec<EncodedRoute>,
    /// Plain requests are redirected to HTTPS.
    pub requires_tls: bool,
    pub counts_attempts: bool,
}

impl Host {
    pub fn new(name: String, domains: Vec<String>, routes: Vec<EncodedRoute>) -> Self {
        Self {
            name,
            domains,
            routes,
            requires_tls: false,
            counts_attempts: true,
        }
    }

    fn encode(self) -> Bytes {
        let requirement = match self.requires_tls {
            true => TlsRequirementType::All,
            false => TlsRequirementType::None,
        };
        VirtualHost {
            name: self.name,
            domains: self.domains,
            routes: self.routes.into_iter().map(|route| route.body).collect(),
            require_tls: requirement.into(),
            include_request_attempt_count: self.counts_attempts,
        }
        .encode_to_vec()
        .into()
    }
}

/// The table `name` of these hosts, in their order.
pub fn table(name: &str, hosts: impl IntoIterator<Item = Host>) -> Resource {
    let table = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts.into_iter().map(Host::encode).collect(),
        validate_clusters: message::boolean(false),
        max_direct_response_body_size_bytes: message::uint32(MAX_DIRECT_RESPONSE_BYTES as u32),
        ignore_port_in_host_matching: true,
    };
    Resource::encode(name, &table)
}

/// Keeps each domain once, whatever the case of its letters: the first host has it. Proxies refuse
/// tables with a domain in two hosts.
#[derive(Debug, Default)]
pub struct Domains {
    seen: BTreeSet<String>,
}

impl Domains {
    /// The domains that are still free, without those that proxies refuse.
    pub fn claim(&mut self, domains: Vec<String>) -> Vec<String> {
        domains
            .into_iter()
            .filter(|domain| is_domain(domain) && self.seen.insert(domain.to_ascii_lowercase()))
            .collect()
    }
}

/// Whether a wildcard, if there is one, is the first or the last letter.
fn is_domain(domain: &str) -> bool {
    let inner = domain
        .strip_prefix('*')
        .or(domain.strip_suffix('*'))
        .unwrap_or(domain);
    !domain.is_empty() && !inner.contains('*') && message::is_header_value(domain)
}

/// Host names by which clients of a namespace may call a service, most specific first, and its addresses.
pub fn service_domains(service: &Service, client: &RouteClient, is_ipv6: bool) -> Vec<String> {
    let mut domains = name_domains(service, client);
    if service.is_headless() {
        let pods: Vec<_> = domains.iter().map(|domain| format!("*.{domain}")).collect();
        domains.extend(pods);
    }
    let own_family = service
        .addresses
        .iter()
        .find(|address| address.is_ipv6() == is_ipv6);
    if let Some(address) = own_family.or(service.addresses.first()) {
        domains.push(match address.is_ipv6() {
            true => format!("[{address}]"),
            false => address.to_string(),
        });
    }
    domains
}

/// The name in full, with a dot at the end, and the shorter forms that the client's resolver completes.
pub fn name_domains(service: &Service, client: &RouteClient) -> Vec<String> {
    let host = &*service.host;
    let mut domains = vec![host.to_owned(), format!("{host}.")];
    let (name, namespace) = (&service.name, &service.namespace);
    // `default.svc.cluster.local`: a client of another domain completes nothing.
    let suffix = client
        .dns_domain
        .split_once('.')
        .map_or("", |(_, rest)| rest);
    let in_domain = host.strip_prefix(&format!("{name}.{namespace}.")) == Some(suffix);
    if !in_domain {
        return domains;
    }
    let qualified = format!("{name}.{namespace}");
    let with_svc = suffix
        .starts_with("svc")
        .then(|| format!("{qualified}.svc"));
    if **namespace == *client.namespace {
        domains.push(name.to_string());
        domains.extend(with_svc);
        domains.push(qualified);
    } else {
        domains.push(qualified);
        domains.extend(with_svc);
    }
    domains
}

/// The route to a service that no rule is for.
pub fn default_route(scope: &RouteScope<'_>, service: &Service) -> EncodedRoute {
    let cluster = ClusterName::outbound(scope.listen_port, "", &*service.host);
    let mut action = forward_to(cluster.to_string());
    let hash = scope.consistent_hash(&cluster);
    action.hash_policy = hash.and_then(policy::hash_policy).into_iter().collect();
    action.retry_policy = Some(retry::default_policy(hash.is_some()));
    EncodedRoute::new(&Route {
        name: "default".to_owned(),
        r#match: Some(matcher::any()),
        decorator: Some(Decorator {
            operation: format!("{}:{}/*", service.host, scope.listen_port),
            ..Default::default()
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    })
}

/// Forwarding to one cluster without a limit of time.
fn forward_to(cluster: String) -> RouteAction {
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        timeout: message::duration(Duration::ZERO),
        ..Default::default()
    };
    #[allow(deprecated)] // Proxies of the mesh read this field.
    {
        action.max_grpc_timeout = message::duration(Duration::ZERO);
    }
    action
}

/// What happens to hosts that no service has.
pub fn catch_all(is_registry_only: bool) -> Host {
    let (name, action) = match is_registry_only {
        false => (
            "allow_any",
            Action::Route(forward_to(PASSTHROUGH_CLUSTER.to_owned())),
        ),
        true => (
            "block_all",
            Action::DirectResponse(DirectResponseAction {
                status: 502,
                ..Default::default()
            }),
        ),
    };
    let route = Route {
        name: name.to_owned(),
        r#match: Some(matcher::any()),
        action: Some(action),
        ..Default::default()
    };
    Host::new(
        name.to_owned(),
        vec!["*".to_owned()],
        vec![EncodedRoute::new(&route)],
    )
}
