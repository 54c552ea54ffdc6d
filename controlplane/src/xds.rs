//! Discovery: the aggregated xDS service, state of the world and delta.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>
//!
//! What a stream sends next is decided without I/O ([`session`]); resources are shared bytes that are framed around, not
//! copied ([`frame`]). The gRPC service is our own, because a generated one encodes every resource anew per client.

pub mod frame;
pub mod inventory;
pub mod metrics;
pub mod resource_type;
pub mod session;
pub mod status;
pub mod stream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ironsail_mesh::identity::Identity;

use crate::ca::authenticate::{AuthError, Peer};
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
    /// The identity of a caller on a TLS connection; `authorization` is the header's value.
    fn authenticate<'a>(
        &'a self,
        peer: &'a Peer,
        authorization: Option<&'a str>,
    ) -> Answer<'a, Result<Identity, AuthError>>;

    /// Whether this identity may read Secrets of its own namespace.
    fn may_read_secrets<'a>(&'a self, identity: &'a Identity) -> Answer<'a, bool>;
}

/// An answer for which the API server may have to be asked.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
