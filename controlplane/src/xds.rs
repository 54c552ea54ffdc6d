//! Discovery: the aggregated xDS service, state of the world and delta.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>
//!
//! What a stream sends next is decided without I/O ([`session`]); resources are shared bytes that are framed around, not
//! copied ([`frame`]). The gRPC service is our own, because a generated one encodes every resource anew per client.

pub mod frame;
pub mod metrics;
pub mod resource_type;
pub mod session;
pub mod status;
pub mod stream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ironsail_mesh::identity::Identity;
use rustls_pki_types::CertificateDer;

use crate::generate::Cache;
use crate::push::Publisher;

pub use metrics::Metrics;
pub use status::Connections;
pub use stream::GrpcBody;

/// What all streams share.
#[derive(Clone)]
pub struct Discovery {
    pub publisher: Publisher,
    pub cache: Arc<Cache>,
    pub gate: Arc<dyn Gate>,
    pub connections: Connections,
    pub metrics: Metrics,
}

/// Who may have a stream, and secrets over it.
pub trait Gate: Send + Sync + 'static {
    /// The identity behind a token or client certificates, or the text for the log.
    fn authenticate<'a>(
        &'a self,
        bearer: Option<&'a str>,
        certificates: &'a [CertificateDer<'static>],
    ) -> Answer<'a, Result<Identity, String>>;

    /// Whether this identity may read Secrets of its own namespace.
    fn may_read_secrets<'a>(&'a self, identity: &'a Identity) -> Answer<'a, bool>;
}

/// An answer for which the API server may have to be asked.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a stream reached us.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    pub is_tls: bool,
    /// Verified client certificates, leaf first.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Address of the client, for the log.
    pub peer: String,
}
