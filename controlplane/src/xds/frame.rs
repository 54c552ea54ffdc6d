//! gRPC messages around shared resource bytes.
//!
//! A response is a list of chunks: short ones with the protobuf framing, and between them the resources' own bytes, which
//! all clients share. <https://protobuf.dev/programming-guides/encoding/>

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::generate::Resource;
use crate::xds::session::Response;

/// Bodies shorter than this are copied: a chunk of their own costs more.
const COPIED_BELOW: usize = 512;

/// Length prefix of a gRPC message.
const PREFIX_BYTES: usize = 5;

/// A `DiscoveryResponse`: version_info 1, resources 2, type_url 4, nonce 5.
pub fn state_of_the_world(response: &Response) -> Vec<Bytes> {
    let type_url = response.kind.type_url();
    let any_len = |resource: &Resource| text_len(1, type_url) + bytes_len(2, resource.body.len());
    let body_len = text_len(1, &response.version)
        + response
            .resources
            .iter()
            .map(|resource| bytes_len(2, any_len(resource)))
            .sum::<usize>()
        + text_len(4, type_url)
        + text_len(5, &response.nonce);
    let mut out = Chunks::new(body_len);
    out.text(1, &response.version);
    for resource in &response.resources {
        out.header(2, any_len(resource));
        out.any(type_url, resource);
    }
    out.text(4, type_url);
    out.text(5, &response.nonce);
    out.finish()
}

/// A `DeltaDiscoveryResponse`: system_version_info 1, resources 2, type_url 4, nonce 5, removed_resources 6; a resource is
/// version 1, resource 2, name 3.
pub fn delta(response: &Response) -> Vec<Bytes> {
    let type_url = response.kind.type_url();
    let any_len = |resource: &Resource| text_len(1, type_url) + bytes_len(2, resource.body.len());
    let resource_len = |resource: &Resource| {
        text_len(1, &resource.version.to_string())
            + bytes_len(2, any_len(resource))
            + text_len(3, &resource.name)
    };
    let body_len = text_len(1, &response.version)
        + response
            .resources
            .iter()
            .map(|resource| bytes_len(2, resource_len(resource)))
            .sum::<usize>()
        + text_len(4, type_url)
        + text_len(5, &response.nonce)
        + response
            .removed
            .iter()
            .map(|name| bytes_len(6, name.len()))
            .sum::<usize>();
    let mut out = Chunks::new(body_len);
    out.text(1, &response.version);
    for resource in &response.resources {
        out.header(2, resource_len(resource));
        out.text(1, &resource.version.to_string());
        out.header(2, any_len(resource));
        out.any(type_url, resource);
        out.text(3, &resource.name);
    }
    out.text(4, type_url);
    out.text(5, &response.nonce);
    for name in &response.removed {
        // An empty name is a name here: the one of the name table.
        out.header(6, name.len());
        out.copy(name.as_bytes());
    }
    out.finish()
}

/// Fields of proto3 are absent when empty.
fn text_len(field: u32, text: &str) -> usize {
    match text.is_empty() {
        true => 0,
        false => bytes_len(field, text.len()),
    }
}

fn bytes_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

struct Chunks {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Chunks {
    fn new(body_len: usize) -> Self {
        let mut open = BytesMut::with_capacity(COPIED_BELOW);
        // Not compressed.
        open.put_u8(0);
        open.put_u32(u32::try_from(body_len).unwrap_or(u32::MAX));
        debug_assert_eq!(open.len(), PREFIX_BYTES);
        Self {
            done: Vec::new(),
            open,
        }
    }

    fn header(&mut self, field: u32, len: usize) {
        encode_key(field, WireType::LengthDelimited, &mut self.open);
        encode_varint(len as u64, &mut self.open);
    }

    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.header(field, text.len());
            self.copy(text.as_bytes());
        }
    }

    fn any(&mut self, type_url: &str, resource: &Resource) {
        self.text(1, type_url);
        self.header(2, resource.body.len());
        self.share(&resource.body);
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
    }

    fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < COPIED_BELOW {
            self.copy(bytes);
            return;
        }
        self.done.push(self.open.split().freeze());
        self.done.push(bytes.clone());
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use ironsail_xds::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
    use prost::Message;

    use crate::xds::resource_type::ResourceType;

    fn response() -> Response {
        Response {
            kind: ResourceType::Cluster,
            nonce: "n".to_owned(),
            version: "v".to_owned(),
            resources: vec![
                Resource::new("small", vec![1; 10]),
                Resource::new("large", vec![2; 5000]),
                Resource::new("empty", Vec::new()),
            ],
            removed: vec![Arc::from("gone"), Arc::from("")],
        }
    }

    fn message(chunks: &[Bytes]) -> Vec<u8> {
        let all: Vec<u8> = chunks.concat();
        let (prefix, body) = all.split_at(PREFIX_BYTES);
        let announced = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        assert_eq!(usize::try_from(announced).expect("small"), body.len());
        body.to_vec()
    }

    #[test]
    fn generated_code_reads_both_forms() {
        let response = response();
        let whole = DiscoveryResponse::decode(message(&state_of_the_world(&response)).as_slice())
            .expect("a response");
        assert_eq!(whole.resources.len(), 3);
        assert_eq!(whole.resources[1].value, vec![2; 5000]);
        assert_eq!(
            (whole.version_info.as_str(), whole.nonce.as_str()),
            ("v", "n")
        );
        let delta = DeltaDiscoveryResponse::decode(message(&delta(&response)).as_slice())
            .expect("a response");
        assert_eq!(delta.resources[0].name, "small");
        assert_eq!(
            delta.resources[1].version,
            response.resources[1].version.to_string()
        );
        assert_eq!(delta.removed_resources, ["gone", ""]);
    }

    #[test]
    fn large_bodies_are_shared() {
        let response = response();
        let body = &response.resources[1].body;
        let chunks = state_of_the_world(&response);
        assert!(chunks.iter().any(|chunk| chunk.as_ptr() == body.as_ptr()));
    }
}
