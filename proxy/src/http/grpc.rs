//! What HTTP must know of gRPC: status codes, timeouts, message counts.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::time::Duration;

/// The gRPC status that an HTTP status stands for in an answer of the proxy.
pub fn status_from_http(status: u16) -> u8 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The HTTP status that a gRPC status stands for.
pub fn status_to_http(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes `grpc-timeout`, in the finest unit from milliseconds up that eight digits allow.
pub fn format_timeout(timeout: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let mut amount = timeout.as_nanos().div_ceil(1_000_000);
    for (unit, of_next) in [('m', 1000), ('S', 60), ('M', 60)] {
        if amount <= MOST {
            return format!("{amount}{unit}");
        }
        amount /= of_next;
    }
    format!("{}H", amount.min(MOST))
}

/// Percent-encodes a `grpc-message`.
pub fn encode_message(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Counts the messages in one direction of a gRPC stream, whose pieces end anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageCounter {
    messages: u64,
    /// Bytes of the current prefix seen so far; 5 make one.
    prefix: u8,
    length: u32,
    /// Bytes of the current message still to come.
    left: u32,
}

impl MessageCounter {
    pub fn messages(&self) -> u64 {
        self.messages
    }

    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some((byte, rest)) = piece.split_first() {
            if self.left > 0 {
                let skip = piece.len().min(self.left as usize);
                self.left -= u32::try_from(skip).unwrap_or(self.left);
                piece = piece.get(skip..).unwrap_or(&[]);
                continue;
            }
            if self.prefix > 0 {
                self.length = self.length << 8 | u32::from(*byte);
            }
            self.prefix += 1;
            if self.prefix == 5 {
                self.messages += 1;
                self.left = self.length;
                self.prefix = 0;
                self.length = 0;
            }
            piece = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_across_pieces() {
        let stream = [
            &[0u8, 0, 0, 0, 3, 1, 2, 3][..],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0],
            &[7; 256],
        ]
        .concat();
        for size in 1..stream.len() {
            let mut counter = MessageCounter::default();
            stream.chunks(size).for_each(|piece| counter.feed(piece));
            assert_eq!(counter.messages(), 3, "pieces of {size}");
        }
    }

    #[test]
    fn timeouts() {
        assert_eq!(parse_timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout(b"1H"), Some(Duration::from_secs(3600)));
        for bad in [&b""[..], b"1", b"m", b"123456789S", b"-1S", b"1x"] {
            assert_eq!(parse_timeout(bad), None);
        }
    }

    #[test]
    fn timeouts_are_written_in_eight_digits() {
        let of = |seconds| format_timeout(Duration::from_secs(seconds));
        assert_eq!(format_timeout(Duration::from_micros(1500)), "2m");
        assert_eq!(format_timeout(Duration::ZERO), "0m");
        assert_eq!(of(99_999), "99999000m");
        assert_eq!(of(100_000), "100000S");
        assert_eq!(of(100_000_000), "1666666M");
        assert_eq!(of(u64::MAX), "99999999H");
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encode_message("a 100%\n"), "a 100%25%0A");
    }
}
