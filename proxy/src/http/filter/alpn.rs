//! The filter `istio.alpn`: tells the other side's proxy which HTTP version the connection will carry.

use std::rc::Rc;
use std::sync::Arc;

use ironsail_xds::istio::{AlpnFilterConfig, AlpnProtocol};

use super::Step;
use crate::http::connection_manager::exchange::Exchange;
use crate::http::message::Version;
use crate::resource::cluster::UpstreamProtocol;

type Protocols = Vec<Arc<[u8]>>;
type SharedProtocols = Rc<[Arc<[u8]>]>;

/// ALPN protocols to offer, by the HTTP version that goes upstream.
#[derive(Debug, Default)]
pub struct AlpnFilter {
    http10: Protocols,
    http11: Protocols,
    http2: Protocols,
}

impl AlpnFilter {
    pub fn compile(config: &AlpnFilterConfig) -> Self {
        let mut filter = Self::default();
        for entry in &config.alpn_override {
            let protocols = entry
                .alpn_override
                .iter()
                .map(|name| name.as_bytes().into());
            let slot = match entry.upstream_protocol() {
                AlpnProtocol::Http10 => &mut filter.http10,
                AlpnProtocol::Http11 => &mut filter.http11,
                AlpnProtocol::Http2 => &mut filter.http2,
            };
            *slot = protocols.collect();
        }
        filter
    }

    pub(super) fn on_request(&self, exchange: &mut Exchange) -> Step {
        let Some(cluster) = &exchange.cluster else {
            return Step::Continue;
        };
        if !cluster.config.istio.alpn_override {
            return Step::Continue;
        }
        let downstream = exchange.request.version;
        let protocols = match (cluster.config.http.protocol, downstream) {
            (UpstreamProtocol::Http2, _) => &self.http2,
            (UpstreamProtocol::Http1, Version::Http10) => &self.http10,
            (UpstreamProtocol::Http1, _) => &self.http11,
            // The negotiated version decides there, and an override would prevent negotiation.
            (UpstreamProtocol::Auto, _) => return Step::Continue,
            (UpstreamProtocol::UseDownstream, Version::Http10) => &self.http10,
            (UpstreamProtocol::UseDownstream, Version::Http11) => &self.http11,
            (UpstreamProtocol::UseDownstream, Version::Http2) => &self.http2,
        };
        if !protocols.is_empty() {
            exchange.alpn = Some(shared(protocols));
        }
        Step::Continue
    }
}

/// The list as a worker hands it to its pools: the same `Rc` for the same list, so that comparing is cheap.
fn shared(protocols: &Protocols) -> SharedProtocols {
    use std::cell::RefCell;
    thread_local! {
        static KNOWN: RefCell<Vec<SharedProtocols>> = const { RefCell::new(Vec::new()) };
    }
    const MAX_KNOWN: usize = 64;
    KNOWN.with_borrow_mut(|known| {
        if let Some(found) = known.iter().find(|list| ***list == **protocols) {
            return Rc::clone(found);
        }
        let new: SharedProtocols = protocols.as_slice().into();
        if known.len() < MAX_KNOWN {
            known.push(Rc::clone(&new));
        }
        new
    })
}
