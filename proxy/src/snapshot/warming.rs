//! What a listener needs before it can take connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::resource::cluster::ClusterConfig;
use crate::resource::listener::{FilterChain, ListenerConfig, Terminal};
use crate::resource::transport_socket::{
    CertificateSource, CommonTls, DownstreamSocket, RootSource, Validation,
};

/// Names of the route configurations that a listener refers to.
pub(super) fn routes(listener: &ListenerConfig) -> impl Iterator<Item = &Arc<str>> {
    listener
        .all_chains()
        .filter_map(|chain| match &chain.terminal {
            Terminal::Http(manager) => manager.rds_name(),
            Terminal::TcpProxy(_) => None,
        })
}

/// Names of the ADS secrets that a listener refers to.
pub(super) fn listener_secrets(listener: &ListenerConfig) -> BTreeSet<Arc<str>> {
    let chains = listener.all_chains();
    chains.flat_map(|chain| chain_secrets(chain)).collect()
}

/// Names of the ADS secrets that a filter chain refers to.
pub(super) fn chain_secrets(chain: &FilterChain) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    if let DownstreamSocket::Tls { context, .. } = &chain.transport {
        collect(&context.tls.common, &mut names);
    }
    names
}

/// Names of the ADS secrets that a cluster refers to.
pub(super) fn cluster_secrets(cluster: &ClusterConfig) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    for socket in cluster.transport.sockets() {
        if let Some(context) = &socket.tls {
            collect(&context.tls.common, &mut names);
        }
    }
    names
}

fn collect(common: &CommonTls, names: &mut BTreeSet<Arc<str>>) {
    if let Some(CertificateSource::Ads(name)) = &common.certificate {
        names.insert(Arc::clone(name));
    }
    if let Validation::Verify(verify) = &common.validation
        && let RootSource::Ads(name) = &verify.roots
    {
        names.insert(Arc::clone(name));
    }
}
