//! One encoded resource.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

/// Hash of a resource's bytes, the version that clients see: 16 hexadecimal digits.
///
/// It depends on nothing but the content, so that restarts and replicas agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub u64);

impl ContentHash {
    /// Length of its text.
    pub const DIGITS: usize = 16;
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A named resource of one type, encoded; clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    pub name: Arc<str>,
    pub version: ContentHash,
    /// The message itself, without the `Any` around it.
    pub body: Bytes,
}

impl Resource {
    pub fn new(name: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            name: name.into(),
            version: ContentHash(xxhash_rust::xxh3::xxh3_64(&body)),
            body,
        }
    }

    /// Encodes a message that has no map with more than one key.
    pub fn encode(name: impl Into<Arc<str>>, message: &impl Message) -> Self {
        Self::new(name, message.encode_to_vec())
    }
}

impl fmt::Debug for Resource {
    /// Without the body: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("name", &self.name)
            .field("version", &format_args!("{}", self.version))
            .field("bytes", &self.body.len())
            .finish()
    }
}
