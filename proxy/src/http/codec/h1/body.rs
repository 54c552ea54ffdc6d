//! Body framing of RFC 9112 section 6: lengths, chunks, trailers, both ways.

use super::buffer::ReadBuffer;
use super::error::ProtocolError;
use super::head::{self, HeadLimits};
use crate::http::header_block::HeaderBlock;
use crate::http::message::BodyLength;

/// Bytes of chunk extensions that are skipped; more is an attack.
const MAX_EXTENSION: u32 = 4096;
/// Hex digits of a chunk size: 2^60 is more than any body.
const MAX_SIZE_DIGITS: u8 = 15;

/// What the decoder found at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The first bytes are body.
    Data {
        len: usize,
        last: bool,
    },
    NeedMore,
    End,
}

/// Finds the body in what was received.
#[derive(Debug, Default)]
pub enum BodyDecoder {
    #[default]
    Done,
    Length(u64),
    Chunked(Chunk),
    /// All that comes until the connection ends: old responses and tunnels.
    UntilClose,
}

/// Where a chunked body stands.
#[derive(Clone, Copy, Debug)]
pub enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { value: u64, len: u32 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
}

impl Chunk {
    const START: Chunk = Chunk::Size {
        value: 0,
        digits: 0,
    };
}

impl BodyDecoder {
    pub fn chunked() -> Self {
        BodyDecoder::Chunked(Chunk::START)
    }

    pub fn of(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty | BodyLength::Exactly(0) => BodyDecoder::Done,
            BodyLength::Exactly(length) => BodyDecoder::Length(length),
            BodyLength::Unknown => BodyDecoder::chunked(),
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, BodyDecoder::Done)
    }

    /// Whether the end of the connection is the orderly end of this body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self, BodyDecoder::UntilClose | BodyDecoder::Done)
    }

    /// Looks at the buffer; consumes framing but not data.
    ///
    /// Trailers go to `trailers`.
    ///
    /// # Errors
    /// Malformed chunks or trailers.
    pub fn decode(
        &mut self,
        buffer: &mut ReadBuffer,
        limits: &HeadLimits,
        trailers: &mut Option<HeaderBlock>,
    ) -> Result<Decoded, ProtocolError> {
        match self {
            BodyDecoder::Done => Ok(Decoded::End),
            BodyDecoder::Length(left) => Ok(match available(*left, buffer.len()) {
                0 => Decoded::NeedMore,
                len => Decoded::Data {
                    len,
                    last: len as u64 == *left,
                },
            }),
            BodyDecoder::UntilClose if buffer.is_empty() => Ok(Decoded::NeedMore),
            BodyDecoder::UntilClose => Ok(Decoded::Data {
                len: buffer.len(),
                last: false,
            }),
            BodyDecoder::Chunked(chunk) => {
                let decoded = decode_chunked(chunk, buffer, limits, trailers)?;
                if decoded == Decoded::End {
                    *self = BodyDecoder::Done;
                }
                Ok(decoded)
            }
        }
    }

    /// Notes that `count` bytes of data were taken from the buffer.
    pub fn advance(&mut self, count: usize) {
        match self {
            BodyDecoder::Length(left) => {
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    *self = BodyDecoder::Done;
                }
            }
            BodyDecoder::Chunked(chunk) => {
                if let Chunk::Data { left } = chunk {
                    *left = left.saturating_sub(count as u64);
                    if *left == 0 {
                        *chunk = Chunk::DataCr;
                    }
                }
            }
            BodyDecoder::Done | BodyDecoder::UntilClose => {}
        }
    }
}

fn available(left: u64, buffered: usize) -> usize {
    usize::try_from(left).map_or(buffered, |left| left.min(buffered))
}

fn decode_chunked(
    chunk: &mut Chunk,
    buffer: &mut ReadBuffer,
    limits: &HeadLimits,
    trailers: &mut Option<HeaderBlock>,
) -> Result<Decoded, ProtocolError> {
    loop {
        match *chunk {
            Chunk::Data { left } => {
                return Ok(match available(left, buffer.len()) {
                    0 => Decoded::NeedMore,
                    len => Decoded::Data { len, last: false },
                });
            }
            Chunk::Trailers => return decode_trailers(buffer, limits, trailers),
            _ => {}
        }
        let Some(byte) = buffer.filled().first().copied() else {
            return Ok(Decoded::NeedMore);
        };
        *chunk = next_state(*chunk, byte)?;
        buffer.consume(1);
    }
}

fn next_state(chunk: Chunk, byte: u8) -> Result<Chunk, ProtocolError> {
    let error = Err(ProtocolError::CHUNK);
    Ok(match (chunk, byte) {
        (Chunk::Size { value, digits }, byte) if byte.is_ascii_hexdigit() => {
            if digits == MAX_SIZE_DIGITS {
                return error;
            }
            let digit = (byte as char).to_digit(16).map_or(0, u64::from);
            Chunk::Size {
                value: value * 16 + digit,
                digits: digits + 1,
            }
        }
        (Chunk::Size { digits: 0, .. }, _) => return error,
        (Chunk::Size { value, .. }, b'\r') => Chunk::SizeLf { value },
        (Chunk::Size { value, .. }, b';' | b' ' | b'\t') => Chunk::Extension { value, len: 0 },
        (Chunk::Extension { value, .. }, b'\r') => Chunk::SizeLf { value },
        (Chunk::Extension { value, len }, byte)
            if len < MAX_EXTENSION && (byte == b'\t' || byte >= b' ') && byte != 0x7f =>
        {
            Chunk::Extension {
                value,
                len: len + 1,
            }
        }
        (Chunk::SizeLf { value: 0 }, b'\n') => Chunk::Trailers,
        (Chunk::SizeLf { value }, b'\n') => Chunk::Data { left: value },
        (Chunk::DataCr, b'\r') => Chunk::DataLf,
        (Chunk::DataLf, b'\n') => Chunk::START,
        _ => return error,
    })
}

fn decode_trailers(
    buffer: &mut ReadBuffer,
    limits: &HeadLimits,
    trailers: &mut Option<HeaderBlock>,
) -> Result<Decoded, ProtocolError> {
    match head::parse_trailers(buffer.filled(), limits)? {
        None if buffer.len() > limits.max_bytes => Err(ProtocolError::TRAILERS_TOO_LARGE),
        None => Ok(Decoded::NeedMore),
        Some((consumed, block)) => {
            buffer.consume(consumed);
            if !block.is_empty() {
                *trailers = Some(block);
            }
            Ok(Decoded::End)
        }
    }
}

/// How the body of the message being sent is framed.
#[derive(Debug, Default)]
pub enum BodyEncoder {
    #[default]
    Done,
    /// Bytes that the head announced and that are still to come.
    Length(u64),
    /// Bytes still to come of the chunk that was begun.
    Chunked {
        left: usize,
    },
    UntilClose,
}

impl BodyEncoder {
    /// How much of a piece may be sent now; begins a chunk where chunks are used.
    ///
    /// A body longer than announced is cut: the surplus would be read as the next message.
    pub fn begin(&mut self, len: usize, out: &mut Vec<u8>) -> usize {
        match self {
            BodyEncoder::Done => 0,
            BodyEncoder::Length(left) => available(*left, len),
            BodyEncoder::UntilClose => len,
            BodyEncoder::Chunked { left } => {
                if *left == 0 {
                    write_chunk_size(len, out);
                    *left = len;
                }
                len.min(*left)
            }
        }
    }

    /// Notes that `count` bytes went out; ends the chunk where one ends.
    pub fn advance(&mut self, count: usize, out: &mut Vec<u8>) {
        match self {
            BodyEncoder::Length(left) => *left = left.saturating_sub(count as u64),
            BodyEncoder::Chunked { left } => {
                *left = left.saturating_sub(count);
                if *left == 0 && count > 0 {
                    out.extend_from_slice(b"\r\n");
                }
            }
            BodyEncoder::Done | BodyEncoder::UntilClose => {}
        }
    }

    /// Ends the body; whether it had the announced length and the connection can go on.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>, out: &mut Vec<u8>) -> bool {
        match std::mem::take(self) {
            BodyEncoder::Done => true,
            BodyEncoder::Length(left) => left == 0,
            BodyEncoder::UntilClose => false,
            BodyEncoder::Chunked { left } => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    trailers.write_to(out);
                }
                out.extend_from_slice(b"\r\n");
                left == 0
            }
        }
    }
}

fn write_chunk_size(len: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let mut first = digits.len();
    let mut rest = len;
    while first > 0 {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            *digit = b"0123456789abcdef".get(rest % 16).copied().unwrap_or(b'0');
        }
        rest /= 16;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or(b"0"));
    out.extend_from_slice(b"\r\n");
}
