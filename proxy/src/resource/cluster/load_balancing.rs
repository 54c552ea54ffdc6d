//! How a cluster picks hosts, from both the older fields and the extensions of Envoy's `Cluster`.

use ironsail_xds::cluster as proto;
use ironsail_xds::ext::load_balancing_policies as lb;
use ironsail_xds::{Any, core, is_type, protobuf, unpack};
use proto::cluster::{LbConfig, LbPolicy as LbProto, common_lb_config::LocalityConfigSpecifier};

use super::{Discovery, Hashing, LbPolicy, SlowStart};
use crate::resource::parse::u32_or;
use crate::resource::{At, CompileError};

const DEFAULT_PANIC_THRESHOLD: f64 = 50.0;

pub(super) fn lb_policy(
    cluster: &proto::Cluster,
    discovery: &Discovery,
) -> Result<LbPolicy, CompileError> {
    if matches!(discovery, Discovery::OriginalDst { .. }) {
        return Ok(LbPolicy::ClusterProvided);
    }
    if let Some(policy) = &cluster.load_balancing_policy {
        return extension_policy(policy).at("load_balancing_policy");
    }
    let policy = LbProto::try_from(cluster.lb_policy);
    Ok(match (policy, &cluster.lb_config) {
        (Ok(LbProto::RoundRobin), _) => LbPolicy::RoundRobin,
        (Ok(LbProto::Random), _) => LbPolicy::Random,
        (Ok(LbProto::LeastRequest), Some(LbConfig::LeastRequestLbConfig(config))) => {
            let bias = config.active_request_bias.as_ref();
            least_request(config.choice_count.as_ref(), bias)
        }
        (Ok(LbProto::LeastRequest), _) => least_request(None, None),
        (Ok(LbProto::RingHash), Some(LbConfig::RingHashLbConfig(config))) => {
            use proto::cluster::ring_hash_lb_config::HashFunction;
            if config.hash_function != HashFunction::XxHash as i32 {
                return Err(CompileError::new("only XX_HASH is supported")
                    .at("ring_hash_lb_config.hash_function"));
            }
            ring_hash(
                config.minimum_ring_size.as_ref(),
                config.maximum_ring_size.as_ref(),
                common_hashing(cluster, discovery)?,
            )
        }
        (Ok(LbProto::RingHash), _) => ring_hash(None, None, common_hashing(cluster, discovery)?),
        (Ok(LbProto::Maglev), Some(LbConfig::MaglevLbConfig(config))) => {
            let hashing = common_hashing(cluster, discovery)?;
            maglev(config.table_size.as_ref(), hashing).at("maglev_lb_config.table_size")?
        }
        (Ok(LbProto::Maglev), _) => maglev(None, common_hashing(cluster, discovery)?)?,
        (Ok(other), _) => {
            let message = format!("{} is not supported", other.as_str_name());
            return Err(CompileError::new(message).at("lb_policy"));
        }
        (Err(_), _) => {
            let message = format!("{} is unknown", cluster.lb_policy);
            return Err(CompileError::new(message).at("lb_policy"));
        }
    })
}

/// The first policy of the list that is supported.
fn extension_policy(policy: &proto::LoadBalancingPolicy) -> Result<LbPolicy, CompileError> {
    let configs = policy.policies.iter().filter_map(|policy| {
        policy
            .typed_extension_config
            .as_ref()?
            .typed_config
            .as_ref()
    });
    for any in configs.clone() {
        if let Some(policy) = known_policy(any)? {
            return Ok(policy);
        }
    }
    let names: Vec<_> = configs
        .map(|any| ironsail_xds::type_name(&any.type_url))
        .collect();
    Err(CompileError::new(format!("none of {names:?} is supported")))
}

fn known_policy(any: &Any) -> Result<Option<LbPolicy>, CompileError> {
    Ok(if is_type::<lb::round_robin::v3::RoundRobin>(any) {
        Some(LbPolicy::RoundRobin)
    } else if is_type::<lb::random::v3::Random>(any) {
        Some(LbPolicy::Random)
    } else if is_type::<lb::least_request::v3::LeastRequest>(any) {
        let config: lb::least_request::v3::LeastRequest = unpack(any)?;
        let bias = config.active_request_bias.as_ref();
        Some(least_request(config.choice_count.as_ref(), bias))
    } else if is_type::<lb::maglev::v3::Maglev>(any) {
        let config: lb::maglev::v3::Maglev = unpack(any)?;
        let hashing = extension_hashing(config.consistent_hashing_lb_config.as_ref())?;
        Some(maglev(config.table_size.as_ref(), hashing)?)
    } else if is_type::<lb::ring_hash::v3::RingHash>(any) {
        let config: lb::ring_hash::v3::RingHash = unpack(any)?;
        Some(ring_hash(
            config.minimum_ring_size.as_ref(),
            config.maximum_ring_size.as_ref(),
            ring_hashing(&config)?,
        ))
    } else if is_type::<lb::wrr_locality::v3::WrrLocality>(any) {
        let config: lb::wrr_locality::v3::WrrLocality = unpack(any)?;
        let inner = config.endpoint_picking_policy.as_ref();
        inner.map(extension_policy).transpose()?
    } else {
        None
    })
}

fn least_request(
    choices: Option<&protobuf::UInt32Value>,
    bias: Option<&core::RuntimeDouble>,
) -> LbPolicy {
    let bias = bias.map_or(1.0, |bias| bias.default_value);
    LbPolicy::LeastRequest {
        choices: u32_or(choices, 2).max(2),
        active_request_bias: if bias.is_finite() && bias >= 0.0 {
            bias
        } else {
            1.0
        },
    }
}

fn common_hashing(
    cluster: &proto::Cluster,
    discovery: &Discovery,
) -> Result<Hashing, CompileError> {
    const FIELD: &str = "common_lb_config.consistent_hashing_lb_config";
    let common = cluster.common_lb_config.as_ref();
    let config = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let Some(config) = config else {
        return Ok(Hashing::default());
    };
    let by_hostname = config.use_hostname_for_hashing;
    let has_names = matches!(
        discovery,
        Discovery::StrictDns(_) | Discovery::LogicalDns(_)
    );
    if by_hostname && !has_names {
        let error = CompileError::new("is for clusters of type STRICT_DNS and LOGICAL_DNS");
        return Err(error.at("use_hostname_for_hashing").at(FIELD));
    }
    hashing(by_hostname, config.hash_balance_factor.as_ref()).at(FIELD)
}

fn extension_hashing(
    config: Option<&lb::common::v3::ConsistentHashingLbConfig>,
) -> Result<Hashing, CompileError> {
    match config {
        Some(config) => hashing(
            config.use_hostname_for_hashing,
            config.hash_balance_factor.as_ref(),
        )
        .at("consistent_hashing_lb_config"),
        None => Ok(Hashing::default()),
    }
}

/// As in the other places, or in fields of its own that were there before.
#[allow(deprecated)]
fn ring_hashing(config: &lb::ring_hash::v3::RingHash) -> Result<Hashing, CompileError> {
    match &config.consistent_hashing_lb_config {
        Some(common) => extension_hashing(Some(common)),
        None => hashing(
            config.use_hostname_for_hashing,
            config.hash_balance_factor.as_ref(),
        ),
    }
}

fn hashing(
    by_hostname: bool,
    balance_factor: Option<&protobuf::UInt32Value>,
) -> Result<Hashing, CompileError> {
    match balance_factor.map(|factor| factor.value) {
        Some(factor @ ..100) => {
            Err(CompileError::new(format!("{factor} is below 100")).at("hash_balance_factor"))
        }
        factor => Ok(Hashing {
            by_hostname,
            balance_factor: factor.unwrap_or(0),
        }),
    }
}

fn ring_hash(
    min: Option<&protobuf::UInt64Value>,
    max: Option<&protobuf::UInt64Value>,
    hashing: Hashing,
) -> LbPolicy {
    /// Entries of a ring at most, as in Envoy.
    const LIMIT: u64 = 8 << 20;
    let max = max.map_or(LIMIT, |size| size.value.clamp(1, LIMIT));
    let min = min.map_or(1024, |size| size.value).clamp(1, max);
    let size = |size| usize::try_from(size).unwrap_or(usize::MAX);
    LbPolicy::RingHash {
        min: size(min),
        max: size(max),
        hashing,
    }
}

fn maglev(
    size: Option<&protobuf::UInt64Value>,
    hashing: Hashing,
) -> Result<LbPolicy, CompileError> {
    /// Largest table, as in Envoy.
    const LIMIT: u64 = 5_000_011;
    let size = size.map_or(65_537, |size| size.value);
    let is_prime = size >= 2
        && (2..)
            .take_while(|n| n * n <= size)
            .all(|n| !size.is_multiple_of(n));
    if size > LIMIT || !is_prime {
        return Err(CompileError::new(format!(
            "{size} is no prime up to {LIMIT}"
        )));
    }
    Ok(LbPolicy::Maglev {
        size: usize::try_from(size).unwrap_or(usize::MAX),
        hashing,
    })
}

/// Whole percent, as Envoy compares it.
pub(super) fn panic_threshold(cluster: &proto::Cluster) -> u32 {
    let common = cluster.common_lb_config.as_ref();
    let percent = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    let percent = percent.map_or(DEFAULT_PANIC_THRESHOLD, |percent| percent.value);
    percent.clamp(0.0, 100.0).floor() as u32
}

pub(super) fn slow_start(cluster: &proto::Cluster) -> Result<Option<SlowStart>, CompileError> {
    let config = match (cluster.lb_policy, &cluster.lb_config) {
        (_, Some(LbConfig::RoundRobinLbConfig(config))) => config.slow_start_config.as_ref(),
        (_, Some(LbConfig::LeastRequestLbConfig(config))) => config.slow_start_config.as_ref(),
        _ => None,
    };
    let window = config.and_then(|config| config.slow_start_window.as_ref());
    let window = window
        .map(ironsail_xds::to_std)
        .filter(|window| !window.is_zero());
    let (Some(config), Some(window)) = (config, window) else {
        return Ok(None);
    };
    let aggression = config
        .aggression
        .as_ref()
        .map_or(1.0, |value| value.default_value);
    if !(aggression.is_finite() && aggression > 0.0) {
        return Err(CompileError::new(format!("{aggression} is not above 0"))
            .at("slow_start_config.aggression"));
    }
    let min = config
        .min_weight_percent
        .as_ref()
        .map_or(10.0, |percent| percent.value);
    Ok(Some(SlowStart {
        window,
        aggression,
        min_weight_percent: if min.is_finite() {
            min.clamp(0.0, 100.0)
        } else {
            10.0
        },
    }))
}

pub(super) fn locality_weighted(cluster: &proto::Cluster) -> bool {
    let common = cluster.common_lb_config.as_ref();
    let specifier = common.and_then(|common| common.locality_config_specifier.as_ref());
    let wrr = cluster.load_balancing_policy.iter().any(|policy| {
        policy.policies.iter().any(|policy| {
            let config = policy.typed_extension_config.as_ref();
            let any = config.and_then(|config| config.typed_config.as_ref());
            any.is_some_and(is_type::<lb::wrr_locality::v3::WrrLocality>)
        })
    });
    wrr || matches!(
        specifier,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
    )
}
