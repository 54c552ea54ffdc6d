//! HTTP/2 frames as bytes, also such as no library would send. <https://www.rfc-editor.org/rfc/rfc9113#section-4>

use crate::http::codec::PREFACE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a client sends first.
pub fn preface() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Fields in HPACK, each literal and without Huffman codes, so that any bytes are expressible.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        // RFC 7541 section 6.2.2, with a new name.
        bytes.push(0);
        string(name.as_bytes(), &mut bytes);
        string(value.as_bytes(), &mut bytes);
    }
    bytes
}

/// RFC 7541 sections 5.1 and 5.2.
fn string(text: &[u8], bytes: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    match text.len().checked_sub(PREFIX) {
        None => bytes.push(text.len() as u8),
        Some(mut rest) => {
            bytes.push(PREFIX as u8);
            while rest > 127 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text);
}

/// A head that fits into one frame.
pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Received {
    /// The error code of `RST_STREAM` and `GOAWAY`.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().ok()?))
    }
}

/// The whole frames at the start of what was received.
pub fn parse(mut bytes: &[u8]) -> Vec<Received> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, id @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push(Received {
            kind,
            flags,
            stream: u32::from_be_bytes(id),
            payload: payload.to_vec(),
        });
        bytes = rest;
    }
    frames
}
