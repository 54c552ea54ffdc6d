//! gRPC messages around shared resource bytes.
//!
//! A response is a list of chunks. Large resources are chunks of their own, the bytes that all clients share; small ones are
//! framed together in runs, and clients that are sent the same run at the same time share it.
//! <https://protobuf.dev/programming-guides/encoding/>

use std::sync::{Arc, LazyLock};

use bytes::{BufMut, Bytes, BytesMut};
use ironsail_runtime::shared::{Interner, digest};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::generate::{ContentHash, Resource};
use crate::xds::session::Response;

/// Bodies shorter than this are copied into a run: a chunk of their own, which becomes a frame of its own, costs more.
const COPIED_BELOW: usize = 16 * 1024;

/// Resources of a run. Clients whose lists differ in a few places share all other runs.
const RUN: usize = 32;

/// Runs with fewer bytes of bodies are copied for each client.
const SHARED_FROM: usize = 4 * 1024;

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
    let form = (type_url, "whole");
    out.resources(form, &response.resources, |out, resource| {
        out.header(2, any_len(resource));
        out.any(type_url, resource);
    });
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
        bytes_len(1, ContentHash::DIGITS)
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
    let form = (type_url, "delta");
    out.resources(form, &response.resources, |out, resource| {
        out.header(2, resource_len(resource));
        out.text(1, &resource.version.to_string());
        out.header(2, any_len(resource));
        out.any(type_url, resource);
        out.text(3, &resource.name);
    });
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

#[derive(Default)]
struct Chunks {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Chunks {
    fn new(body_len: usize) -> Self {
        let mut open = BytesMut::new();
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
        self.close();
        self.done.push(bytes.clone());
    }

    /// Ends the open chunk.
    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(self.open.split().freeze());
        }
    }

    /// All resources, each written by `write`, which says the same for the same `form` and resource.
    fn resources(
        &mut self,
        form: (&str, &str),
        resources: &[Resource],
        write: impl Fn(&mut Chunks, &Resource),
    ) {
        for run in resources.chunks(RUN) {
            let is_shared = run
                .iter()
                .map(|resource| resource.body.len())
                .sum::<usize>()
                >= SHARED_FROM
                && run.iter().all(|resource| {
                    // What nobody else holds is sent to nobody else.
                    resource.body.len() < COPIED_BELOW && !resource.body.is_unique()
                });
            if !is_shared {
                run.iter().for_each(|resource| write(self, resource));
                continue;
            }
            self.close();
            let shared = RUNS.get(digest_of(form, run), || {
                let mut own = Chunks::default();
                run.iter().for_each(|resource| write(&mut own, resource));
                Arc::new(Run {
                    framed: own.open.freeze(),
                    _bodies: run.iter().map(|resource| resource.body.clone()).collect(),
                })
            });
            self.done.push(Bytes::from_owner(Held(shared)));
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }
}

/// Runs that are on their way to clients.
static RUNS: LazyLock<Interner<Run>> = LazyLock::new(Interner::default);

/// Framed resources. What they were made of is held as well, so that its address tells it from everything else: versions
/// are short hashes, and nobody may be sent what was made for another.
struct Run {
    framed: Bytes,
    _bodies: Vec<Bytes>,
}

/// One client's hold on a run.
struct Held(Arc<Run>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0.framed
    }
}

/// What a run is made of.
fn digest_of(form: (&str, &str), run: &[Resource]) -> u128 {
    let parts = run.iter().map(|resource| {
        let body = &resource.body;
        (&resource.name, body.as_ptr().addr(), body.len())
    });
    digest(&(form, parts.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
                Resource::new("large", vec![2; 50_000]),
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
        assert_eq!(whole.resources[1].value, vec![2; 50_000]);
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

    #[test]
    fn small_bodies_are_framed_once_for_all() {
        let many = Response {
            resources: (0..100)
                .map(|number| Resource::new(format!("cluster {number}"), vec![number; 1000]))
                .collect(),
            ..response()
        };
        let own = delta(&many);
        assert_eq!(own.len(), 1, "what only this response holds is one chunk");
        let _kept = many.resources.clone();
        let (one, other) = (delta(&many), delta(&many));
        let shared = one
            .iter()
            .zip(&other)
            .filter(|(one, other)| one.as_ptr() == other.as_ptr());
        assert_eq!(
            shared.count(),
            3,
            "three runs of 32; the last four are few and copied"
        );
        let read = DeltaDiscoveryResponse::decode(message(&one).as_slice()).expect("a response");
        assert_eq!(read.resources.len(), 100);
        let whole = DiscoveryResponse::decode(message(&state_of_the_world(&many)).as_slice());
        assert_eq!(whole.expect("a response").resources.len(), 100);
    }
}
