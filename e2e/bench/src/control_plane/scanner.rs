//! Responses of discovery as they stream by: type, version, nonce; the resources themselves are skipped unread.
//! <https://protobuf.dev/programming-guides/encoding/>

/// Length prefix of a gRPC message.
const PREFIX: usize = 5;
/// Field of the resources in both forms of the response.
const RESOURCES: u64 = 2;

/// What is known of one response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub type_url: String,
    pub version: String,
    pub nonce: String,
    /// With the prefix.
    pub bytes: usize,
}

/// Reads a stream of messages piece by piece.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes of the message that have not come yet; none between messages.
    left: Option<usize>,
    /// Bytes to pass over.
    skip: usize,
    /// The beginning of what is being read.
    pending: Vec<u8>,
    seen: Seen,
}

impl Scanner {
    /// Takes the next piece; calls `done` for each response that ends in it.
    pub fn read(&mut self, mut piece: &[u8], mut done: impl FnMut(Seen)) {
        while !piece.is_empty() || self.left == Some(0) {
            if self.left == Some(0) {
                self.left = None;
                done(std::mem::take(&mut self.seen));
                continue;
            }
            let taken = match self.skip {
                0 => self.take_byte(piece[0]),
                skip => {
                    let passed = skip.min(piece.len());
                    self.skip -= passed;
                    passed
                }
            };
            self.seen.bytes += taken;
            if let (Some(left), true) = (&mut self.left, taken > 0) {
                *left -= taken.min(*left);
            }
            self.begin_message();
            piece = &piece[taken..];
        }
    }

    fn take_byte(&mut self, byte: u8) -> usize {
        self.pending.push(byte);
        if self.left.is_some() {
            self.take_field();
        }
        1
    }

    fn begin_message(&mut self) {
        if self.left.is_none() && self.pending.len() == PREFIX {
            let length = self.pending[1..]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            self.left = Some(length);
            self.pending.clear();
        }
    }

    /// Acts once key, length and, where it counts, content of a field are there. All fields are of this form.
    fn take_field(&mut self) {
        let Some((key, rest)) = varint(&self.pending) else {
            return;
        };
        let Some((length, content)) = varint(rest) else {
            return;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match key >> 3 {
            RESOURCES => self.skip = length,
            field if content.len() == length => {
                let text = String::from_utf8_lossy(content).into_owned();
                match field {
                    1 => self.seen.version = text,
                    4 => self.seen.type_url = text,
                    5 => self.seen.nonce = text,
                    _ => {}
                }
            }
            _ => return,
        }
        self.pending.clear();
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironsail_xds::Any;
    use ironsail_xds::discovery::DiscoveryResponse;
    use prost::Message;

    #[test]
    fn responses_are_told_apart_in_pieces_of_any_size() {
        let response = DiscoveryResponse {
            version_info: "v".repeat(200),
            resources: vec![
                Any {
                    type_url: "t".to_owned(),
                    value: vec![7; 3000],
                },
                Any::default(),
            ],
            type_url: "clusters".to_owned(),
            nonce: "n".to_owned(),
            ..Default::default()
        };
        let body = response.encode_to_vec();
        let mut message = vec![0];
        message.extend(u32::try_from(body.len()).expect("small").to_be_bytes());
        message.extend(body);
        let both = message.repeat(2);
        for size in [1, 2, 7, 1000, both.len()] {
            let (mut scanner, mut all) = (Scanner::default(), Vec::new());
            for piece in both.chunks(size) {
                scanner.read(piece, |seen| all.push(seen));
            }
            assert_eq!(all.len(), 2, "pieces of {size}");
            assert_eq!(all[0].type_url, "clusters");
            assert_eq!(all[0].version.len(), 200);
            assert_eq!((all[1].nonce.as_str(), all[1].bytes), ("n", message.len()));
        }
    }
}
