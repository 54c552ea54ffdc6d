//! Compiled `ClusterLoadAssignment`: the endpoints of a cluster.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use ironsail_mesh::locality::Locality;
use ironsail_runtime::shared::{Interner, shared_text};
use ironsail_xds::core::HealthStatus as HealthProto;
use ironsail_xds::endpoint as proto;
use ironsail_xds::protobuf::value::Kind;
use proto::lb_endpoint::HostIdentifier;
use proto::locality_lb_endpoints::LbConfig;

use crate::peer::PeerMetadata;
use crate::resource::parse::{self, u32_or};
use crate::resource::{At, CompileError};

/// Percent of healthy endpoints at which a priority still takes everything.
const DEFAULT_OVERPROVISIONING_FACTOR: u32 = 140;
/// Priorities above are refused, so that a number alone cannot make this proxy allocate.
const MAX_PRIORITY: u32 = 127;

/// All endpoints of a cluster, by priority.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    /// Index is the priority, 0 first.
    pub priorities: Vec<Vec<LocalityEndpoints>>,
    /// Percent of healthy endpoints at which a priority still takes everything; default 140.
    pub overprovisioning_factor: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LocalityEndpoints {
    /// Shared with the others there.
    pub locality: Arc<Locality>,
    /// Share of traffic of this locality; `None`: by its endpoints.
    pub weight: Option<u32>,
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// One address that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// Other addresses of the same endpoint, tried when the first one is slow.
    pub additional: Box<[SocketAddr]>,
    pub hostname: Arc<str>,
    pub health: HealthStatus,
    /// At least 1.
    pub weight: u32,
    /// From metadata `envoy.lb`.
    pub canary: bool,
    /// What consistent hashing knows it by, from metadata `envoy.lb`; empty: its address.
    pub hash_key: Box<str>,
    /// Metadata `envoy.transport_socket_match`, sorted: `tlsMode=istio`.
    pub transport_match: Box<[(Arc<str>, Arc<str>)]>,
    /// From metadata `istio.workload`.
    pub workload: Option<Arc<PeerMetadata>>,
}

/// What discovery says of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// Unknown counts as healthy.
    #[default]
    Healthy,
    Degraded,
    Unhealthy,
    Draining,
}

impl HealthStatus {
    /// Whether new requests may go there.
    pub fn takes_requests(self) -> bool {
        matches!(self, HealthStatus::Healthy | HealthStatus::Degraded)
    }
}

impl Endpoints {
    /// Compiles an assignment whose endpoints all have IP addresses.
    ///
    /// # Errors
    /// Names, pipes, ports out of range, priorities above 127, endpoints by reference.
    pub fn compile(assignment: &proto::ClusterLoadAssignment) -> Result<Self, CompileError> {
        let mut endpoints = Self {
            priorities: Vec::new(),
            overprovisioning_factor: overprovisioning_factor(assignment.policy.as_ref()),
        };
        for (index, group) in assignment.endpoints.iter().enumerate() {
            endpoints
                .add(group)
                .at(format_args!("endpoints[{index}]"))?;
        }
        for localities in &mut endpoints.priorities {
            localities.shrink_to_fit();
        }
        Ok(endpoints)
    }

    fn add(&mut self, group: &proto::LocalityLbEndpoints) -> Result<(), CompileError> {
        let localities = self.priority(priority(group)?);
        let mut compiled = Vec::with_capacity(group.lb_endpoints.len());
        for (index, endpoint) in lb_endpoints(group)?.iter().enumerate() {
            let template = template(endpoint);
            let address = template.and_then(|(template, endpoint)| {
                let address =
                    parse::socket_addr(endpoint.address.as_ref()).at("endpoint.address")?;
                Ok(Endpoint {
                    address,
                    additional: additional(endpoint)?,
                    ..template
                })
            });
            compiled.push(Arc::new(address.at(format_args!("lb_endpoints[{index}]"))?));
        }
        localities.push(LocalityEndpoints {
            locality: locality(group),
            weight: group.load_balancing_weight.map(|weight| weight.value),
            endpoints: compiled,
        });
        Ok(())
    }

    fn priority(&mut self, index: usize) -> &mut Vec<LocalityEndpoints> {
        if self.priorities.len() <= index {
            let more = index + 1 - self.priorities.len();
            self.priorities.reserve_exact(more);
            self.priorities.resize_with(index + 1, Vec::new);
        }
        self.priorities.get_mut(index).expect("resized above")
    }

    /// All endpoints, whatever their priority and health.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let localities = self.priorities.iter().flatten();
        localities.flat_map(|locality| &locality.endpoints)
    }

    /// Adds one endpoint to a locality of a priority; a locality that is new has this weight.
    pub fn push(
        &mut self,
        priority: usize,
        locality: &Arc<Locality>,
        weight: Option<u32>,
        endpoint: Endpoint,
    ) {
        let localities = self.priority(priority);
        let known = localities
            .iter_mut()
            .find(|known| known.locality == *locality);
        let endpoint = Arc::new(endpoint);
        match known {
            Some(known) => known.endpoints.push(endpoint),
            None => localities.push(LocalityEndpoints {
                locality: Arc::clone(locality),
                weight,
                endpoints: vec![endpoint],
            }),
        }
    }
}

/// Percent of healthy endpoints at which a priority still takes everything; default 140.
pub(crate) fn overprovisioning_factor(
    policy: Option<&proto::cluster_load_assignment::Policy>,
) -> u32 {
    let factor = policy.and_then(|policy| policy.overprovisioning_factor.as_ref());
    u32_or(factor, DEFAULT_OVERPROVISIONING_FACTOR)
}

/// The priority of a group, as an index.
///
/// # Errors
/// It is above 127.
pub(crate) fn priority(group: &proto::LocalityLbEndpoints) -> Result<usize, CompileError> {
    let priority = group.priority;
    usize::try_from(priority)
        .ok()
        .filter(|_| priority <= MAX_PRIORITY)
        .ok_or_else(|| {
            CompileError::new(format!("{priority} is above {MAX_PRIORITY}")).at("priority")
        })
}

/// The endpoints of a group, wherever it keeps them.
#[allow(deprecated)]
pub(crate) fn lb_endpoints(
    group: &proto::LocalityLbEndpoints,
) -> Result<&[proto::LbEndpoint], CompileError> {
    match &group.lb_config {
        None => Ok(&group.lb_endpoints),
        Some(LbConfig::LoadBalancerEndpoints(list)) => Ok(&list.lb_endpoints),
        Some(LbConfig::LedsClusterLocalityConfig(_)) => {
            Err(CompileError::new("endpoints over LEDS are not supported"))
        }
    }
}

pub(crate) fn locality(group: &proto::LocalityLbEndpoints) -> Arc<Locality> {
    static LOCALITIES: LazyLock<Interner<Locality>> = LazyLock::new(Interner::default);
    let locality = group.locality.clone().unwrap_or_default();
    LOCALITIES.share(Arc::new(Locality {
        region: locality.region,
        zone: locality.zone,
        sub_zone: locality.sub_zone,
    }))
}

/// Everything of an endpoint but its address, which may still be a name.
pub(crate) fn template(
    endpoint: &proto::LbEndpoint,
) -> Result<(Endpoint, &proto::Endpoint), CompileError> {
    let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
        return Err(CompileError::new("endpoints by name are not supported").at("endpoint_name"));
    };
    let metadata = endpoint.metadata.as_ref();
    let istio = parse::filter_metadata(metadata, "istio");
    let workload = istio.and_then(|istio| parse::string_field(istio, "workload"));
    let weight = u32_or(endpoint.load_balancing_weight.as_ref(), 1);
    let template = Endpoint {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        additional: Box::default(),
        hostname: shared_text(&host.hostname),
        health: health(endpoint.health_status),
        weight: weight.max(1),
        canary: is_canary(metadata),
        hash_key: hash_key(metadata),
        transport_match: transport_match(endpoint),
        workload: workload.and_then(PeerMetadata::from_endpoint).map(Arc::new),
    };
    Ok((template, host))
}

fn is_canary(metadata: Option<&ironsail_xds::core::Metadata>) -> bool {
    let fields = parse::filter_metadata(metadata, "envoy.lb");
    let canary = fields.and_then(|fields| fields.fields.get("canary"));
    matches!(
        canary.and_then(|value| value.kind.as_ref()),
        Some(Kind::BoolValue(true))
    )
}

fn hash_key(metadata: Option<&ironsail_xds::core::Metadata>) -> Box<str> {
    let fields = parse::filter_metadata(metadata, "envoy.lb");
    let key = fields.and_then(|fields| parse::string_field(fields, "hash_key"));
    key.unwrap_or_default().into()
}

fn additional(endpoint: &proto::Endpoint) -> Result<Box<[SocketAddr]>, CompileError> {
    let addresses = endpoint.additional_addresses.iter().enumerate();
    let compile = |(index, additional): (usize, &proto::endpoint::AdditionalAddress)| {
        let path = format_args!("endpoint.additional_addresses[{index}]");
        parse::socket_addr(additional.address.as_ref()).at(path)
    };
    addresses.map(compile).collect()
}

fn health(status: i32) -> HealthStatus {
    match HealthProto::try_from(status) {
        Ok(HealthProto::Unhealthy | HealthProto::Timeout) => HealthStatus::Unhealthy,
        Ok(HealthProto::Draining) => HealthStatus::Draining,
        Ok(HealthProto::Degraded) => HealthStatus::Degraded,
        _ => HealthStatus::Healthy,
    }
}

fn transport_match(endpoint: &proto::LbEndpoint) -> Box<[(Arc<str>, Arc<str>)]> {
    let fields = parse::filter_metadata(endpoint.metadata.as_ref(), "envoy.transport_socket_match");
    let mut pairs = fields.map(string_pairs).unwrap_or_default();
    pairs.sort();
    pairs.into_boxed_slice()
}

/// The string fields of a struct: the same few in all clusters.
pub(crate) fn string_pairs(fields: &ironsail_xds::protobuf::Struct) -> Vec<(Arc<str>, Arc<str>)> {
    fields
        .fields
        .iter()
        .filter_map(|(key, value)| match &value.kind {
            Some(Kind::StringValue(text)) => Some((shared_text(key), shared_text(text))),
            _ => None,
        })
        .collect()
}
