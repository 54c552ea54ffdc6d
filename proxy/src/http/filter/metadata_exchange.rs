//! The filter `istio.metadata_exchange`: the proxies at both ends of a call tell each other which workload they serve.
//!
//! `x-envoy-peer-metadata` carries a `Struct` in base64, `x-envoy-peer-metadata-id` the node id. Applications never
//! see either.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironsail_mesh::xds_name::PASSTHROUGH_CLUSTER;
use ironsail_xds::ordered::{Kind, Struct, Value};
use prost::Message;

use super::Step;
use crate::http::connection_manager::exchange::Exchange;
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::peer::PeerMetadata;
use crate::resource::CompileError;
use crate::worker::LocalNode;

/// Longest metadata that is read.
const MAX_METADATA: usize = 16 * 1024;
/// Longest metadata that is remembered.
const MAX_REMEMBERED_SIZE: usize = 4 * 1024;
/// Peers that a worker remembers before it starts over.
const MAX_REMEMBERED: usize = 1024;

/// Compiled `io.istio.http.peer_metadata.Config`: which of the four things to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MetadataExchange {
    downstream_discovery: bool,
    upstream_discovery: bool,
    downstream_propagation: bool,
    /// `Some(true)`: not to clusters outside the mesh.
    upstream_propagation: Option<bool>,
}

impl MetadataExchange {
    /// Discovery by other means than headers needs the workload API, which this proxy does not use; where headers say
    /// nothing, metadata of the endpoint does.
    ///
    /// # Errors
    /// A field has the wrong shape.
    pub fn compile(config: &Struct) -> Result<Self, CompileError> {
        Ok(Self {
            downstream_discovery: headers(config, "downstream_discovery")?.is_some(),
            upstream_discovery: headers(config, "upstream_discovery")?.is_some(),
            downstream_propagation: headers(config, "downstream_propagation")?.is_some(),
            upstream_propagation: headers(config, "upstream_propagation")?.map(|headers| {
                let skip = headers.fields.get("skip_external_clusters");
                matches!(
                    skip.and_then(|skip| skip.kind.as_ref()),
                    Some(Kind::Bool(true))
                )
            }),
        })
    }

    pub(super) fn on_request(&self, exchange: &mut Exchange) -> Step {
        if self.downstream_discovery {
            let headers = &mut exchange.request.headers;
            if let Some(peer) = take(headers, &mut exchange.peer_asks) {
                exchange.info.downstream_peer = Some(peer);
            }
        }
        if let Some(skip_external) = self.upstream_propagation
            && !(skip_external && is_external(exchange))
        {
            let headers = &mut exchange.request.headers;
            let (id, metadata) = own(&exchange.context.worker.node);
            headers.set(Known::EnvoyPeerMetadataId, &id);
            headers.set(Known::EnvoyPeerMetadata, &metadata);
        }
        Step::Continue
    }

    pub(super) fn on_response(&self, exchange: &mut Exchange) {
        if self.upstream_discovery {
            let headers = &mut exchange.response.headers;
            if let Some(peer) = take(headers, &mut PeerAsks::default()) {
                exchange.info.upstream_peer = Some(peer);
            }
        }
        if self.downstream_propagation && exchange.peer_asks.any() {
            let (id, metadata) = own(&exchange.context.worker.node);
            let headers = &mut exchange.response.headers;
            if exchange.peer_asks.id {
                headers.set(Known::EnvoyPeerMetadataId, &id);
            }
            if exchange.peer_asks.metadata {
                headers.set(Known::EnvoyPeerMetadata, &metadata);
            }
        }
    }
}

/// Which of both headers the other side sent, and so understands.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerAsks {
    id: bool,
    metadata: bool,
}

impl PeerAsks {
    fn any(self) -> bool {
        self.id || self.metadata
    }
}

/// The settings of the method `istio_headers` in a list of methods, when it is there.
fn headers<'c>(config: &'c Struct, field: &str) -> Result<Option<&'c Struct>, CompileError> {
    let wrong = || CompileError::new("is not a list of methods").at(field.to_owned());
    let methods = match config
        .fields
        .get(field)
        .and_then(|value| value.kind.as_ref())
    {
        None | Some(Kind::Null(_)) => return Ok(None),
        Some(Kind::List(methods)) => &methods.values,
        Some(_) => return Err(wrong()),
    };
    for method in methods {
        let Some(Kind::Struct(method)) = &method.kind else {
            return Err(wrong());
        };
        if let Some(Value { kind }) = method.fields.get("istio_headers") {
            return match kind {
                Some(Kind::Struct(settings)) => Ok(Some(settings)),
                _ => Err(wrong()),
            };
        }
    }
    Ok(None)
}

/// Takes the headers out; `None` when there is nothing usable in them.
fn take(headers: &mut HeaderBlock, asks: &mut PeerAsks) -> Option<Arc<PeerMetadata>> {
    let peer = headers.get(Known::EnvoyPeerMetadata).and_then(decode);
    asks.id = headers.remove(Known::EnvoyPeerMetadataId);
    asks.metadata = headers.remove(Known::EnvoyPeerMetadata);
    peer
}

/// Peers by the text of their header; `None` for texts that say nothing.
type KnownPeers = HashMap<Box<[u8]>, Option<Arc<PeerMetadata>>>;

/// Reads a header's value. The same text gives the same object, for whatever compares peers by address.
fn decode(text: &[u8]) -> Option<Arc<PeerMetadata>> {
    thread_local! {
        static KNOWN: RefCell<KnownPeers> = RefCell::default();
    }
    if text.len() > MAX_METADATA {
        return None;
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some(peer) = known.get(text) {
            return peer.clone();
        }
        let peer = STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| Struct::decode(bytes.as_slice()).ok())
            .map(|node| Arc::new(PeerMetadata::from_node(&node)));
        if text.len() <= MAX_REMEMBERED_SIZE {
            if known.len() >= MAX_REMEMBERED {
                known.clear();
            }
            known.insert(text.into(), peer.clone());
        }
        peer
    })
}

type OwnHeaders = (Rc<[u8]>, Rc<[u8]>);

/// This proxy's own id and metadata, encoded once per thread.
fn own(node: &Arc<LocalNode>) -> OwnHeaders {
    thread_local! {
        static OWN: RefCell<Option<(Arc<LocalNode>, OwnHeaders)>> = const { RefCell::new(None) };
    }
    OWN.with_borrow_mut(|cached| match cached {
        Some((of, headers)) if Arc::ptr_eq(of, node) => headers.clone(),
        _ => {
            let metadata = STANDARD.encode(node.peer.to_node().encode_to_vec());
            let headers: OwnHeaders = (node.id.as_bytes().into(), metadata.as_bytes().into());
            *cached = Some((Arc::clone(node), headers.clone()));
            headers
        }
    })
}

/// Outside the mesh: pass-through traffic, and clusters marked so.
fn is_external(exchange: &Exchange) -> bool {
    match &exchange.cluster {
        Some(cluster) => *cluster.config.name == *PASSTHROUGH_CLUSTER,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(skip: bool) -> Value {
        let settings: Struct = if skip {
            [("skip_external_clusters", Value::from(true))]
                .into_iter()
                .collect()
        } else {
            Struct::default()
        };
        let headers: Struct = [("istio_headers", Value::from(settings))]
            .into_iter()
            .collect();
        let workload: Struct = [("workload_discovery", Value::from(Struct::default()))]
            .into_iter()
            .collect();
        Value::from(vec![Value::from(workload), Value::from(headers)])
    }

    #[test]
    fn configurations() {
        let config: Struct = [
            ("downstream_discovery", methods(false)),
            ("upstream_propagation", methods(true)),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            MetadataExchange::compile(&config).expect("valid"),
            MetadataExchange {
                downstream_discovery: true,
                upstream_propagation: Some(true),
                ..MetadataExchange::default()
            }
        );
        let odd: Struct = [("upstream_discovery", Value::from("x"))]
            .into_iter()
            .collect();
        let error = MetadataExchange::compile(&odd)
            .expect_err("not a list")
            .to_string();
        assert_eq!(error, "upstream_discovery: is not a list of methods");
    }

    #[test]
    fn headers_are_taken_out_and_understood() {
        let node = Arc::new(LocalNode {
            id: "sidecar~10.0.0.1~a.b~c".to_owned(),
            peer: PeerMetadata {
                workload: "web".into(),
                canonical_name: "web".into(),
                canonical_revision: "v2".into(),
                ..PeerMetadata::default()
            },
        });
        let (id, metadata) = own(&node);
        let mut headers = HeaderBlock::new();
        headers.append(Known::EnvoyPeerMetadataId, &id);
        headers.append(Known::EnvoyPeerMetadata, &metadata);
        let mut asks = PeerAsks::default();
        let peer = take(&mut headers, &mut asks).expect("valid");
        assert_eq!(*peer, node.peer);
        assert!(asks.id && asks.metadata && headers.is_empty());
        let again = decode(&metadata).expect("valid");
        assert!(Arc::ptr_eq(&peer, &again));
    }

    #[test]
    fn nonsense_is_no_peer() {
        for text in [&b"not base64!"[..], b"/////w==", &vec![b'A'; 20_000]] {
            assert!(decode(text).is_none());
        }
    }
}
