//! Which cluster a request is forwarded to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ironsail_xds::route as proto;
use proto::route_action::ClusterSpecifier;

use super::filter_config::RouteFilters;
use super::header_mutation::HeaderMutations;
use crate::resource::{At, CompileError};

#[derive(Debug)]
pub enum ClusterChoice {
    One(Arc<str>),
    Weighted(Weighted),
    /// Name of the header that names the cluster.
    Header(Box<str>),
}

/// `WeightedCluster`.
#[derive(Debug)]
pub struct Weighted {
    clusters: Vec<WeightedCluster>,
    total: u32,
    /// Where the next request falls, in fractions of 2^64.
    turn: AtomicU64,
}

#[derive(Debug)]
pub struct WeightedCluster {
    pub name: Arc<str>,
    weight: u32,
    pub request_headers: HeaderMutations,
    pub response_headers: HeaderMutations,
    pub host_rewrite: Option<Box<str>>,
    pub filters: RouteFilters,
}

impl Weighted {
    /// The cluster of the next request. Requests are spread evenly, as steps of the golden ratio are: any few hundred
    /// hold their shares within a request or two. Differs from Envoy, which throws dice.
    pub fn pick(&self) -> Option<&WeightedCluster> {
        /// 2^64 divided by the golden ratio.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let turn = u128::from(self.turn.fetch_add(STEP, Ordering::Relaxed));
        let mut point = ((turn * u128::from(self.total)) >> 64) as u64;
        for cluster in &self.clusters {
            let weight = u64::from(cluster.weight);
            if point < weight {
                return Some(cluster);
            }
            point -= weight;
        }
        self.clusters.last()
    }

    pub fn clusters(&self) -> &[WeightedCluster] {
        &self.clusters
    }
}

impl ClusterChoice {
    /// # Errors
    /// No cluster is named, or by something that this proxy does not have.
    pub(super) fn compile(specifier: Option<&ClusterSpecifier>) -> Result<Self, CompileError> {
        Ok(match specifier {
            Some(ClusterSpecifier::Cluster(name)) => ClusterChoice::One(name.as_str().into()),
            Some(ClusterSpecifier::ClusterHeader(name)) => {
                ClusterChoice::Header(name.to_ascii_lowercase().into())
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                ClusterChoice::Weighted(Weighted::compile(weighted).at("weighted_clusters")?)
            }
            Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) => {
                return Err(CompileError::unknown_extension(
                    "cluster specifier",
                    name,
                    "",
                ));
            }
            Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
                return Err(
                    CompileError::new("is not supported").at("inline_cluster_specifier_plugin")
                );
            }
            None => return Err(CompileError::new("names no cluster")),
        })
    }
}

impl Weighted {
    fn compile(weighted: &proto::WeightedCluster) -> Result<Self, CompileError> {
        let compile = |(index, cluster)| {
            WeightedCluster::compile(cluster).at(format_args!("clusters[{index}]"))
        };
        let clusters: Vec<_> = weighted
            .clusters
            .iter()
            .enumerate()
            .map(compile)
            .collect::<Result<_, _>>()?;
        let total = clusters
            .iter()
            .try_fold(0u32, |sum, cluster| sum.checked_add(cluster.weight))
            .ok_or_else(|| CompileError::new("the weights exceed 2^32-1"))?;
        if total == 0 {
            return Err(CompileError::new("the weights are all zero"));
        }
        Ok(Self {
            clusters,
            total,
            turn: AtomicU64::new(fastrand::u64(..)),
        })
    }
}

impl WeightedCluster {
    fn compile(cluster: &proto::weighted_cluster::ClusterWeight) -> Result<Self, CompileError> {
        use proto::weighted_cluster::cluster_weight::HostRewriteSpecifier as HostRewrite;
        if cluster.name.is_empty() {
            return Err(CompileError::new("is required").at("name"));
        }
        Ok(Self {
            name: cluster.name.as_str().into(),
            weight: cluster.weight.as_ref().map_or(0, |weight| weight.value),
            request_headers: HeaderMutations::compile(
                "request_headers",
                &cluster.request_headers_to_add,
                &cluster.request_headers_to_remove,
            )?,
            response_headers: HeaderMutations::compile(
                "response_headers",
                &cluster.response_headers_to_add,
                &cluster.response_headers_to_remove,
            )?,
            host_rewrite: cluster
                .host_rewrite_specifier
                .as_ref()
                .map(|HostRewrite::HostRewriteLiteral(host)| host.as_str().into()),
            filters: RouteFilters::compile(&cluster.typed_per_filter_config)?,
        })
    }
}
