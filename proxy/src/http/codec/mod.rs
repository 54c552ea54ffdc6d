//! The two wire formats behind one view of a message: a head, pieces of body, trailers.

pub mod h1;
pub mod h2;

use bytes::Bytes;

/// First bytes of a client that speaks HTTP/2 with prior knowledge.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes next of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEvent {
    /// A piece is ready; `last` when it is known that nothing follows, not even trailers.
    Data { last: bool },
    /// All pieces were read; trailers may be there.
    End,
}

/// A piece of body, in a form that the other side takes over without copying where it can.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    Slice(&'a [u8]),
    Shared(&'a Bytes),
}

impl<'a> Piece<'a> {
    pub fn as_slice(&self) -> &'a [u8] {
        match self {
            Piece::Slice(slice) => slice,
            Piece::Shared(bytes) => bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The first `count` bytes.
    pub fn take(&self, count: usize) -> Bytes {
        let count = count.min(self.len());
        match self {
            Piece::Slice(slice) => Bytes::copy_from_slice(slice.get(..count).unwrap_or(slice)),
            Piece::Shared(bytes) => bytes.slice(..count),
        }
    }
}
