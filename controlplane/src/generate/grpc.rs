//! Resources for gRPC libraries that speak xDS themselves, node metadata `GENERATOR: grpc`.
//!
//! Names are the peer's: a client asks for the listener `host:port`, whose table is `outbound|port||host`; a server
//! asks for `xds.istio.io/grpc/lds/inbound/address:port`. Libraries refuse what they do not know, so they get less than
//! proxies. Endpoints are those of everybody.
//! <https://github.com/grpc/proposal/blob/master/A28-xds-traffic-splitting-and-routing.md>

mod cluster;
mod listener;
mod route;

use ironsail_xds::ext::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    common_tls_context::ValidationContextType,
};
use ironsail_xds::matcher::StringMatcher;

use crate::generate::{Cache, Resource};
use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;

pub use route::generate as route;

/// Certificate provider in the bootstrap of libraries, which the agent writes.
const PROVIDER: &str = "default";
const CERTIFICATE: &str = "default";
const ROOTS: &str = "ROOTCA";

/// Clusters by name; names that mean nothing are left out.
pub fn clusters<N: AsRef<str>>(
    snapshot: &Snapshot,
    proxy: &Proxy,
    cache: &Cache,
    names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    let made = |name: N| cluster::generate(snapshot, proxy, cache, name.as_ref());
    names.into_iter().filter_map(made).collect()
}

/// Listeners by name, of clients and servers; names that mean nothing are left out.
pub fn listeners<N: AsRef<str>>(
    snapshot: &Snapshot,
    proxy: &Proxy,
    names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    let made = |name: N| listener::generate(snapshot, proxy, name.as_ref());
    names.into_iter().filter_map(made).collect()
}

/// The workload's own certificate, and peers of the mesh's authority with one of `names`; any when there are none.
#[allow(deprecated)] // Libraries read the untyped list.
fn mutual_tls(names: Vec<StringMatcher>) -> CommonTlsContext {
    let instance = |certificate_name: &str| CertificateProviderPluginInstance {
        instance_name: PROVIDER.to_owned(),
        certificate_name: certificate_name.to_owned(),
    };
    CommonTlsContext {
        tls_certificate_provider_instance: Some(instance(CERTIFICATE)),
        validation_context_type: Some(ValidationContextType::ValidationContext(
            CertificateValidationContext {
                ca_certificate_provider_instance: Some(instance(ROOTS)),
                match_subject_alt_names: names,
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}
