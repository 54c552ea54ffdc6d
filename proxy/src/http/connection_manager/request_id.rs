//! `x-request-id`: a UUID whose fourteenth digit says why the request is traced.

use super::config::{RequestIdPolicy, Tracing};
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;

/// Place of the digit in the text.
const REASON_AT: usize = 14;
const LENGTH: usize = 36;

/// Why a request is, or is not, traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Reason {
    Not = b'4',
    Sampled = b'9',
    Forced = b'a',
    Client = b'b',
}

/// Sets the id and, where traces are taken, the reason.
///
/// `replace` makes a new id even if the client sent one.
pub fn apply(
    headers: &mut HeaderBlock,
    policy: &RequestIdPolicy,
    tracing: Option<&Tracing>,
    replace: bool,
) {
    if policy.generate && (replace || !headers.contains(Known::RequestId)) {
        headers.set(Known::RequestId, &generate());
    }
    let Some(tracing) = tracing.filter(|_| policy.pack_trace_reason && policy.use_for_sampling)
    else {
        return;
    };
    let Some(id) = headers.get(Known::RequestId).and_then(parse) else {
        return;
    };
    if id.get(REASON_AT) != Some(&(Reason::Not as u8)) {
        return;
    }
    let reason = if headers.contains(Known::ClientTraceId) && tracing.client.draw() {
        Reason::Client
    } else if headers.contains(Known::EnvoyForceTrace) {
        Reason::Forced
    } else if tracing.random.holds(sample(&id)) {
        Reason::Sampled
    } else {
        return;
    };
    if tracing.overall.draw() {
        let mut marked = id;
        if let Some(digit) = marked.get_mut(REASON_AT) {
            *digit = reason as u8;
        }
        headers.set(Known::RequestId, &marked);
    }
}

/// A random UUID, version 4, in text form.
fn generate() -> [u8; LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = fastrand::u128(..);
    let mut text = [b'-'; LENGTH];
    for (at, slot) in text.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        let nibble = (random & 15) as usize;
        random >>= 4;
        let nibble = match at {
            14 => 4,
            19 => 8 | (nibble & 3),
            _ => nibble,
        };
        *slot = DIGITS.get(nibble).copied().unwrap_or(b'0');
    }
    text
}

fn parse(id: &[u8]) -> Option<[u8; LENGTH]> {
    id.try_into().ok()
}

/// A number below 10000 from the first eight digits, the same on every proxy that sees the request.
fn sample(id: &[u8; LENGTH]) -> u32 {
    let digits = id
        .get(..8)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number.map_or(u32::MAX, |number| number % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::matcher::Fraction;

    const POLICY: RequestIdPolicy = RequestIdPolicy {
        generate: true,
        preserve_external: false,
        set_in_response: false,
        pack_trace_reason: true,
        use_for_sampling: true,
    };

    fn tracing(random: f64) -> Tracing {
        Tracing {
            client: Fraction::ALL,
            random: Fraction::of_percent(random),
            overall: Fraction::ALL,
        }
    }

    fn id(headers: &HeaderBlock) -> String {
        headers
            .get_str(Known::RequestId)
            .expect("there is an id")
            .to_owned()
    }

    #[test]
    fn ids_are_uuids() {
        let mut headers = HeaderBlock::new();
        apply(&mut headers, &POLICY, None, false);
        let first = id(&headers);
        let uuid = uuid::Uuid::parse_str(&first).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 4);
        apply(&mut headers, &POLICY, None, false);
        assert_eq!(id(&headers), first);
        apply(&mut headers, &POLICY, None, true);
        assert_ne!(id(&headers), first);
    }

    #[test]
    fn the_reason_is_a_digit() {
        let reason = |headers: &mut HeaderBlock, random| {
            apply(headers, &POLICY, Some(&tracing(random)), false);
            id(headers).chars().nth(REASON_AT)
        };
        assert_eq!(reason(&mut HeaderBlock::new(), 0.0), Some('4'));
        assert_eq!(reason(&mut HeaderBlock::new(), 100.0), Some('9'));
        let mut client: HeaderBlock = [("x-client-trace-id", "1")].into_iter().collect();
        assert_eq!(reason(&mut client, 0.0), Some('b'));
        let mut forced: HeaderBlock = [("x-envoy-force-trace", "1")].into_iter().collect();
        assert_eq!(reason(&mut forced, 0.0), Some('a'));
        let mut other: HeaderBlock = [("x-request-id", "not a uuid")].into_iter().collect();
        apply(&mut other, &POLICY, Some(&tracing(100.0)), false);
        assert_eq!(id(&other), "not a uuid");
    }
}
