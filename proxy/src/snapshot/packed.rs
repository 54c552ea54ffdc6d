//! Encodings as they came, kept for `config_dump` in a fraction of their size: resources of one type repeat each other.
//!
//! LZ4 with a dictionary that consists of the first encodings that differed much from those before them.
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>.

use bytes::Bytes;
use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// Bytes after which a dictionary does not grow any more: each packing reads it.
const MAX_DICTIONARY: usize = 4 << 10;

/// What the encodings of one type have in common.
#[derive(Debug, Default)]
pub(super) struct Dictionary(Vec<u8>);

/// An encoding, which only its dictionary can read.
#[derive(Debug)]
pub(super) struct Packed {
    compressed: Box<[u8]>,
    /// Length of the encoding.
    length: u32,
    /// How much of the dictionary there was; it grows at its end.
    dictionary: u32,
}

impl Dictionary {
    pub fn pack(&mut self, encoding: &[u8]) -> Packed {
        let packed = Packed {
            compressed: compress_with_dict(encoding, &self.0).into_boxed_slice(),
            length: length(encoding),
            dictionary: length(&self.0),
        };
        let is_new = packed.compressed.len() > encoding.len() / 2;
        if is_new && self.0.len() + encoding.len() <= MAX_DICTIONARY {
            self.0.reserve_exact(encoding.len());
            self.0.extend_from_slice(encoding);
        }
        packed
    }

    /// The encoding; empty if it is another dictionary's.
    pub fn unpack(&self, packed: &Packed) -> Bytes {
        let dictionary = self.0.get(..packed.dictionary as usize);
        let length = packed.length as usize;
        let encoding = dictionary.and_then(|dictionary| {
            decompress_with_dict(&packed.compressed, length, dictionary).ok()
        });
        encoding.unwrap_or_default().into()
    }
}

/// Messages of protobuf have less than 2 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use prost::Message;

    use crate::testing::{common_tls, eds_cluster, upstream_tls};

    /// Clusters as a mesh has them: of many services, some with TLS of their own.
    fn clusters(count: usize) -> Vec<Vec<u8>> {
        let encode = |number: usize| {
            let host = format!("service-{number:04}.team.svc.cluster.local");
            let mut cluster = eds_cluster(&format!("outbound|80||{host}"));
            let san = format!("spiffe://cluster.local/ns/team/sa/service-{number:04}");
            if number.is_multiple_of(2) {
                let common = common_tls(&["istio-peer-exchange", "istio"], &[&san]);
                cluster.transport_socket = Some(upstream_tls(&host, common));
            }
            cluster.encode_to_vec()
        };
        (0..count).map(encode).collect()
    }

    /// Packs all, then unpacks all.
    #[track_caller]
    fn check(encodings: &[Vec<u8>]) -> (Dictionary, Vec<Packed>) {
        let mut dictionary = Dictionary::default();
        let pack = |encoding: &Vec<u8>| dictionary.pack(encoding);
        let packed: Vec<_> = encodings.iter().map(pack).collect();
        for (encoding, packed) in encodings.iter().zip(&packed) {
            assert_eq!(dictionary.unpack(packed), encoding);
        }
        assert!(dictionary.0.len() <= MAX_DICTIONARY);
        (dictionary, packed)
    }

    #[test]
    fn what_repeats_is_kept_once() {
        let encodings = clusters(1000);
        let (_, packed) = check(&encodings);
        let before: usize = encodings.iter().map(Vec::len).sum();
        let after: usize = packed.iter().map(|packed| packed.compressed.len()).sum();
        assert!(after * 3 < before, "{after} of {before}");
    }

    #[test]
    fn every_encoding_comes_back() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise = |length| -> Vec<u8> { (0..length).map(|_| random.u8(..)).collect() };
        let sizes = [0, 1, 3, 100, 900, 900, 900, 900, 900, 5000, 70_000, 100];
        let mut encodings: Vec<_> = sizes.into_iter().map(&mut noise).collect();
        encodings.push(vec![7; 70_000]);
        encodings.extend(encodings.clone());
        encodings.extend(clusters(10));
        check(&encodings);
    }

    #[test]
    fn another_dictionary_reads_nothing() {
        let (_, packed) = check(&clusters(3));
        let last = packed.last().expect("three");
        assert!(Dictionary::default().unpack(last).is_empty());
    }
}
