//! The two wire formats behind one view of a message: a head, pieces of body, trailers.

pub mod h1;

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
