//! Compiled `STRICT_DNS` and `LOGICAL_DNS`: names that are looked up again and again.

use std::sync::Arc;
use std::time::Duration;

use ironsail_mesh::locality::Locality;
use ironsail_xds::cluster as proto;
use ironsail_xds::ext::clusters::common::dns::v3::DnsLookupFamily as ExtensionFamily;
use ironsail_xds::ext::clusters::dns::v3::{DnsCluster, dns_cluster};
use ironsail_xds::protobuf;
use proto::cluster::{DnsLookupFamily, RefreshRate};

use super::Discovery;
use crate::resource::endpoint::{self, Endpoint};
use crate::resource::parse::{self, duration_or};
use crate::resource::{At, CompileError};

const DEFAULT_REFRESH: Duration = Duration::from_secs(5);
/// After a failure, before the wait grows to `refresh`. Differs from Envoy, which waits for `refresh` at once.
const DEFAULT_FAILURE_REFRESH: Duration = Duration::from_secs(1);

/// Names to look up, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    pub names: Vec<DnsName>,
    /// Percent of healthy endpoints at which a priority still takes everything.
    pub overprovisioning_factor: u32,
    /// Default 5 s.
    pub refresh: Duration,
    /// Added to each wait, up to this.
    pub jitter: Duration,
    /// Shortest and longest wait after failures; it doubles in between.
    pub failure_refresh: (Duration, Duration),
    /// Look up again when an answer expires, instead of after `refresh`.
    pub respect_ttl: bool,
    pub family: DnsFamily,
}

impl DnsConfig {
    /// Has hosts told apart by the names that endpoints give them, if they have no key of their own. Those without
    /// either go by the name that is looked up.
    pub(super) fn hash_by_hostname(&mut self) {
        for name in &mut self.names {
            let template = &mut name.template;
            if template.hash_key.is_empty() {
                template.hash_key = (*template.hostname).into();
            }
        }
    }
}

/// A name, and where its addresses stand.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsName {
    pub host: Arc<str>,
    pub port: u16,
    pub priority: usize,
    pub locality: Arc<Locality>,
    /// Share of traffic of the locality; `None`: by its endpoints.
    pub locality_weight: Option<u32>,
    /// Everything of the endpoints but their address.
    pub template: Endpoint,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 addresses, or those of IPv4 when there are none.
    #[default]
    Auto,
    V4,
    V6,
    /// IPv4 addresses, or those of IPv6 when there are none.
    V4Preferred,
    All,
}

/// What both forms of configuration say of time and families.
struct Settings<'a> {
    refresh: Option<&'a protobuf::Duration>,
    jitter: Option<&'a protobuf::Duration>,
    failure: Option<(
        Option<&'a protobuf::Duration>,
        Option<&'a protobuf::Duration>,
    )>,
    respect_ttl: bool,
    family: DnsFamily,
}

/// `STRICT_DNS`, with the fields of the cluster itself.
pub(super) fn strict(cluster: &proto::Cluster) -> Result<Discovery, CompileError> {
    Ok(Discovery::StrictDns(compile(cluster, &settings(cluster))?))
}

/// `LOGICAL_DNS`, with the fields of the cluster itself.
pub(super) fn logical(cluster: &proto::Cluster) -> Result<Discovery, CompileError> {
    only_one(compile(cluster, &settings(cluster))?).map(Discovery::LogicalDns)
}

/// The cluster type `envoy.cluster.dns`, which is either of both.
pub(super) fn extension(
    cluster: &proto::Cluster,
    config: &DnsCluster,
) -> Result<Discovery, CompileError> {
    let rate = config.dns_failure_refresh_rate.as_ref();
    let settings = Settings {
        refresh: config.dns_refresh_rate.as_ref(),
        jitter: config.dns_jitter.as_ref(),
        failure: rate.map(|rate: &dns_cluster::RefreshRate| {
            (rate.base_interval.as_ref(), rate.max_interval.as_ref())
        }),
        respect_ttl: config.respect_dns_ttl,
        family: match ExtensionFamily::try_from(config.dns_lookup_family) {
            Ok(ExtensionFamily::V4Only) => DnsFamily::V4,
            Ok(ExtensionFamily::V6Only) => DnsFamily::V6,
            Ok(ExtensionFamily::V4Preferred) => DnsFamily::V4Preferred,
            Ok(ExtensionFamily::All) => DnsFamily::All,
            _ => DnsFamily::Auto,
        },
    };
    let compiled = compile(cluster, &settings)?;
    match config.all_addresses_in_single_endpoint {
        true => only_one(compiled).map(Discovery::LogicalDns),
        false => Ok(Discovery::StrictDns(compiled)),
    }
}

#[allow(deprecated)]
fn settings(cluster: &proto::Cluster) -> Settings<'_> {
    let rate = cluster.dns_failure_refresh_rate.as_ref();
    Settings {
        refresh: cluster.dns_refresh_rate.as_ref(),
        jitter: cluster.dns_jitter.as_ref(),
        failure: rate
            .map(|rate: &RefreshRate| (rate.base_interval.as_ref(), rate.max_interval.as_ref())),
        respect_ttl: cluster.respect_dns_ttl,
        family: match DnsLookupFamily::try_from(cluster.dns_lookup_family) {
            Ok(DnsLookupFamily::V4Only) => DnsFamily::V4,
            Ok(DnsLookupFamily::V6Only) => DnsFamily::V6,
            Ok(DnsLookupFamily::V4Preferred) => DnsFamily::V4Preferred,
            Ok(DnsLookupFamily::All) => DnsFamily::All,
            _ => DnsFamily::Auto,
        },
    }
}

fn compile(cluster: &proto::Cluster, settings: &Settings<'_>) -> Result<DnsConfig, CompileError> {
    let assignment = cluster.load_assignment.as_ref();
    let policy = assignment.and_then(|assignment| assignment.policy.as_ref());
    let refresh = duration_or(settings.refresh, DEFAULT_REFRESH);
    Ok(DnsConfig {
        names: names(cluster)?,
        overprovisioning_factor: endpoint::overprovisioning_factor(policy),
        refresh,
        jitter: duration_or(settings.jitter, Duration::ZERO),
        failure_refresh: match settings.failure {
            Some((base, max)) => {
                let base = duration_or(base, refresh);
                (base, duration_or(max, base.saturating_mul(10)).max(base))
            }
            None => (DEFAULT_FAILURE_REFRESH.min(refresh), refresh),
        },
        respect_ttl: settings.respect_ttl,
        family: settings.family,
    })
}

fn names(cluster: &proto::Cluster) -> Result<Vec<DnsName>, CompileError> {
    let mut names = Vec::new();
    let groups = cluster.load_assignment.iter().flat_map(|a| &a.endpoints);
    for (index, group) in groups.enumerate() {
        let path = format!("load_assignment.endpoints[{index}]");
        let priority = endpoint::priority(group).at(&path)?;
        for endpoint in endpoint::lb_endpoints(group).at(&path)? {
            let (template, host) = endpoint::template(endpoint).at(&path)?;
            let address = parse::socket_address(host.address.as_ref()).at(&path)?;
            names.push(DnsName {
                host: address.address.as_str().into(),
                port: parse::port(address).at(&path)?,
                priority,
                locality: endpoint::locality(group),
                locality_weight: group.load_balancing_weight.map(|weight| weight.value),
                template,
            });
        }
    }
    Ok(names)
}

fn only_one(config: DnsConfig) -> Result<DnsConfig, CompileError> {
    match config.names.as_slice() {
        [_] => Ok(config),
        _ => {
            let error = CompileError::new("LOGICAL_DNS needs exactly one endpoint");
            Err(error.at("load_assignment"))
        }
    }
}
