//! Workload metadata at the start of TCP connections between proxies: the filter `istio.metadata_exchange`.
//!
//! Active where ALPN selected `istio-peer-exchange`. Each side sends one frame before its first payload: a magic
//! number, a length, and an `Any` that holds a `Struct` with the sender's node metadata and id.

use ironsail_xds::Any;
use ironsail_xds::ordered::{Kind, Struct, Value};
use prost::Message;

use crate::peer::PeerMetadata;
use crate::worker::LocalNode;

/// ALPN protocol that announces the exchange.
pub const ALPN: &[u8] = b"istio-peer-exchange";

const MAGIC: u32 = 0x3D23_0467;
const HEADER_LENGTH: usize = 8;
/// Frames above are taken for payload of somebody who does not speak this protocol.
const MAX_FRAME: usize = 64 * 1024;
const METADATA_KEY: &str = "x-envoy-peer-metadata";
const ID_KEY: &str = "x-envoy-peer-metadata-id";
const STRUCT_TYPE: &str = "type.googleapis.com/google.protobuf.Struct";

/// The frame with which `node` introduces itself.
pub fn encode(node: &LocalNode) -> Vec<u8> {
    let body: Struct = [
        (METADATA_KEY, Value::from(node.peer.to_node())),
        (ID_KEY, Value::from(node.id.as_str())),
    ]
    .into_iter()
    .collect();
    let any = Any {
        type_url: STRUCT_TYPE.to_owned(),
        value: body.encode_to_vec(),
    };
    let length = any.encoded_len();
    let mut frame = Vec::with_capacity(HEADER_LENGTH + length);
    frame.extend_from_slice(&MAGIC.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    any.encode(&mut frame).expect("vectors grow");
    frame
}

/// What the start of a stream says about the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The frame is not complete yet.
    NeedMore,
    /// No frame, or one without use; payload starts after `consumed` bytes.
    NoPeer { consumed: usize },
    Peer {
        peer: Box<PeerMetadata>,
        consumed: usize,
    },
}

/// Reads the frame at the start of `input`.
pub fn decode(input: &[u8]) -> Decoded {
    let magic = MAGIC.to_be_bytes();
    let known = input.len().min(magic.len());
    if input.get(..known) != magic.get(..known) {
        return Decoded::NoPeer { consumed: 0 };
    }
    let Some((header, rest)) = input.split_first_chunk::<HEADER_LENGTH>() else {
        return Decoded::NeedMore;
    };
    let [_, _, _, _, a, b, c, d] = *header;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Decoded::NoPeer { consumed: 0 };
    }
    let Some(body) = rest.get(..length) else {
        return Decoded::NeedMore;
    };
    let consumed = HEADER_LENGTH + length;
    match decode_body(body) {
        Some(peer) => Decoded::Peer {
            peer: Box::new(peer),
            consumed,
        },
        None => Decoded::NoPeer { consumed },
    }
}

fn decode_body(body: &[u8]) -> Option<PeerMetadata> {
    let any = Any::decode(body).ok()?;
    let fields = Struct::decode(any.value.as_slice()).ok()?;
    match fields.fields.get(METADATA_KEY)?.kind.as_ref()? {
        Kind::Struct(node) => Some(PeerMetadata::from_node(node)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> LocalNode {
        LocalNode {
            id: "sidecar~10.0.0.1~web-0.shop~shop.svc.cluster.local".to_owned(),
            peer: PeerMetadata {
                workload: "web".into(),
                namespace: "shop".into(),
                canonical_name: "web".into(),
                canonical_revision: "latest".into(),
                ..PeerMetadata::default()
            },
        }
    }

    #[test]
    fn frames_round_trip_in_pieces() {
        let mut stream = encode(&node());
        let length = stream.len();
        for end in 0..length {
            assert_eq!(decode(&stream[..end]), Decoded::NeedMore, "{end} bytes");
        }
        stream.extend_from_slice(b"payload");
        let expected = Decoded::Peer {
            peer: Box::new(node().peer),
            consumed: length,
        };
        assert_eq!(decode(&stream), expected);
    }

    #[test]
    fn other_protocols_are_payload_at_once() {
        let none = Decoded::NoPeer { consumed: 0 };
        assert_eq!(decode(b"GET"), none);
        assert_eq!(decode(&[0x3D, 0x24]), none);
        let mut huge = MAGIC.to_be_bytes().to_vec();
        huge.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(decode(&huge), none);
    }

    #[test]
    fn a_frame_without_metadata_is_skipped() {
        let mut frame = MAGIC.to_be_bytes().to_vec();
        frame.extend_from_slice(&3_u32.to_be_bytes());
        frame.extend_from_slice(b"\xff\xff\xffdata");
        assert_eq!(decode(&frame), Decoded::NoPeer { consumed: 11 });
    }
}
